//! Sentinel and keeper as real processes. A program of its own, not a test harness: hosting forks, and must begin in a process
//! with one thread. It starts itself again for the parts to be played; see [`stage::play`].

mod stage;
mod versions;

use procq_core::proto::messages::{Command, Configure, Event, Reply, Request, Stage, StopPolicy};
use procq_core::sys::{self, process};
use stage::{patiently, Hosted, Part, Setup};
use std::time::{Duration, Instant};
use versions::Project;

type Scene = (&'static str, fn());

const SCENES: [Scene; 11] = [
    ("the_sentinel_ends_more_processes_than_it_may_have_descriptors", more_processes_than_descriptors_after_the_keeper),
    ("a_slot_is_not_free_before_a_tree_larger_than_the_descriptor_limit_is_gone", a_tree_larger_than_the_limit),
    ("faults_24_without_descriptors_spawns_fail_and_clients_are_served", without_descriptors),
    ("faults_8_a_sentinel_reaps_strangers_that_were_reparented_to_it", strangers_are_reaped),
    ("faults_26_one_interrupt_counts_once_behind_children_of_a_former_life", one_interrupt_counts_once),
    ("a_debugger_that_keeps_an_ended_worker_keeps_nobody_busy", a_debugger_holds_the_dead),
    ("what_cannot_end_holds_up_no_wave_for_ever", a_wave_that_cannot_end),
    ("faults_6_thousands_that_ignore_term_end_at_one_deadline", a_thousand_deadlines_at_once),
    ("an_owner_that_looks_away_for_a_moment_misses_no_exit", the_last_events_are_delivered),
    ("the_outer_process_takes_the_rest_with_it", the_outer_process_dies),
    ("faults_13_65_an_image_that_cannot_take_over_costs_nothing", images_that_cannot),
];

fn main() {
    versions::play();
    stage::play();
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for (name, scene) in SCENES {
        if wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str())) {
            let begun = Instant::now();
            scene();
            println!("test {name} ... ok ({:.1} s)", begun.elapsed().as_secs_f64());
        }
    }
}

/// Errors and panics, before anything was taken over and in the middle of it: the former image goes on.
fn images_that_cannot() {
    let project = Project::start();
    let (keeper, _, worker) = project.look();
    for release in ["0", "good"] {
        for (flavour, why) in [("panics", "planted"), ("stumbles", "is not to be had"), ("counts-twice", "twice")] {
            let reply = project.upgrade(flavour);
            assert!(matches!(&reply, Reply::Error { message } if message.contains(why)), "{flavour}: {reply:?}");
            assert_eq!(project.look(), (keeper, release.to_owned(), worker), "{flavour}");
        }
        let reply = project.upgrade("good");
        assert!(matches!(reply, Reply::Upgraded { workers: 1, .. }), "{reply:?}");
        assert_eq!(project.look(), (keeper, "good".to_owned(), worker));
    }
    project.end();
}

/// A worker with `count` children that no death signal reaches.
fn crowd(count: u32) -> String {
    format!("i=0; while [ $i -lt {count} ]; do sleep 98765 & i=$((i+1)); done; echo born; wait")
}

fn more_processes_than_descriptors_after_the_keeper() {
    let mut hosted = Hosted::start(Setup { descriptors: Some(64), ..Setup::default() });
    let worker = hosted.spawn_shell(1, &crowd(100));
    patiently("the crowd", || process::tree(worker).len() > 100);
    let tree = process::tree(worker);
    hosted.kill_keeper();
    patiently("the sentinel's end", || hosted.has_left().is_some());
    assert!(tree.into_iter().all(|pid| process::stat(pid).is_none_or(|stat| stat.state == 'Z')));
}

fn a_tree_larger_than_the_limit() {
    let mut hosted = Hosted::start(Setup { descriptors: Some(64), ..Setup::default() });
    let worker = hosted.spawn_shell(1, &crowd(100));
    patiently("the crowd", || process::tree(worker).len() > 100);
    let tree = process::tree(worker);
    hosted.stop(1, Some(libc::SIGTERM), 0);
    let killed = hosted.until(|event| match event {
        Event::Gone { killed, .. } => Some(*killed),
        _ => None,
    });
    let left: Vec<i32> = tree.iter().copied().filter(|pid| process::stat(*pid).is_some()).collect();
    assert!(left.is_empty(), "the slot was freed while these lived: {left:?}");
    assert_eq!(killed as usize, tree.len());
    hosted.end();
}

fn without_descriptors() {
    let mut hosted = Hosted::start(Setup { descriptors: Some(128), ..Setup::default() });
    let failure = (1..).find_map(|generation| hosted.try_spawn(generation, "exec sleep 98765").err());
    let failure = failure.expect("128 descriptors are not enough for ever");
    assert!(failure.transient && matches!(failure.stage, Stage::Streams | Stage::Clone), "{failure:?}");
    let mut client = hosted.client();
    client.push(&Request::Info {}).unwrap();
    let mut workers = 0;
    patiently("an answer", || {
        let _ = client.flush();
        client.fill(1 << 16).unwrap();
        match client.receive::<Reply>() {
            Ok(Some(Reply::Info { running, .. })) => workers = running,
            other => assert!(matches!(other, Ok(None)), "{other:?}"),
        }
        workers > 0
    });
    assert!(workers > 10);
    // However many knock, the keeper does not spin.
    let _crowd: Vec<_> = (0..100).filter_map(|_| hosted.try_client()).collect();
    hosted.is_idle();
    hosted.end();
}

fn strangers_are_reaped() {
    let mut sentinel = Part::start("sentinel", &[]);
    let pid = sentinel.pid();
    patiently("its children", || process::children(pid).len() == 2);
    patiently("its keeper only", || process::children(pid).len() == 1);
    let keeper = process::children(pid)[0];
    assert!(sys::Child::open(keeper).unwrap().signal(libc::SIGKILL));
    patiently("its end", || sentinel.has_left() == Some(128 + libc::SIGKILL));
}

fn one_interrupt_counts_once() {
    let mut hosted = Hosted::start(Setup { with_children: true, ..Setup::default() });
    let worker = hosted.spawn_shell(1, "trap '' TERM; echo ready; while :; do sleep 0.1; done");
    patiently("its trap", || stage::ignores(worker, libc::SIGTERM));
    hosted.signal_group(libc::SIGINT);
    hosted.until(|event| matches!(event, Event::ShuttingDown { .. }).then_some(()));
    let alive = || process::stat(worker).is_some_and(|stat| stat.state != 'Z');
    stage::throughout(Duration::from_millis(500), "it had 20 s", alive);
    hosted.signal_group(libc::SIGINT);
    patiently("the end, asked for twice", || hosted.has_left().is_some());
}

fn a_debugger_holds_the_dead() {
    let mut hosted = Hosted::start(Setup::default());
    let worker = hosted.spawn_shell(1, "exec sleep 98765");
    if !stage::seize(worker) {
        return println!("skipped: this machine lets nobody trace");
    }
    hosted.stop(1, Some(libc::SIGTERM), 0);
    patiently("its end", || process::stat(worker).is_some_and(|stat| stat.state == 'Z'));
    hosted.is_idle();
    stage::let_go(worker);
    hosted.until(|event| matches!(event, Event::Gone { .. }).then_some(()));
    hosted.end();
}

/// In place of a process that hangs in the kernel: one that a debugger keeps.
fn a_wave_that_cannot_end() {
    let mut hosted = Hosted::start(Setup::default());
    let high = hosted.spawn_shell(1, "exec sleep 98765");
    hosted.spawn_shell(2, "exec sleep 98765");
    if !stage::seize(high) {
        return println!("skipped: this machine lets nobody trace");
    }
    let stop = StopPolicy { grace: 10, ..StopPolicy::default() };
    hosted.send(&Command::Configure(Configure {
        worker: "w.1".into(),
        generation: 1,
        stop,
        wave: 1,
        ..Configure::default()
    }));
    hosted.send(&Command::Shutdown { fast: false, exit_code: 0, reason: "the scene is over".into() });
    hosted.until(|event| matches!(event, Event::Stopping { generation: 2, .. }).then_some(()));
    assert!(process::stat(high).is_some_and(|stat| stat.state == 'Z'));
    stage::let_go(high);
    patiently("the end", || hosted.has_left() == Some(0));
}

fn a_thousand_deadlines_at_once() {
    const WORKERS: u64 = 1_000;
    let mut hosted = Hosted::start(Setup::default());
    for generation in 1..=WORKERS {
        hosted.spawn_shell(generation, "trap '' TERM; sleep 98765 & wait; exec sleep 98765");
    }
    let begun = Instant::now();
    (1..=WORKERS).for_each(|generation| hosted.stop(generation, None, 500));
    let (mut gone, mut killed) = (0, 0);
    hosted.until(|event| {
        if let Event::Gone { killed: some, .. } = event {
            gone += 1;
            killed += u64::from(*some);
        }
        (gone == WORKERS).then_some(())
    });
    println!("{WORKERS} trees were gone {:.2} s after the deadline", begun.elapsed().as_secs_f64() - 0.5);
    assert_eq!(killed, 2 * WORKERS);
    hosted.end();
}

fn the_last_events_are_delivered() {
    const WORKERS: u64 = 1_500;
    let mut hosted = Hosted::start(Setup::default());
    (1..=WORKERS).for_each(|generation| hosted.order(generation, "exec sleep 98765"));
    let mut running = 0;
    hosted.until(|event| {
        running += u64::from(matches!(event, Event::Executing { .. }));
        (running == WORKERS).then_some(())
    });
    hosted.send(&Command::Shutdown { fast: true, exit_code: 0, reason: "the scene is over".into() });
    patiently("their end, which nobody looks at", || hosted.workers_left() == 0);
    let (mut exited, mut gone) = (0, 0);
    hosted.until(|event| {
        exited += u64::from(matches!(event, Event::Exited { .. }));
        gone += u64::from(matches!(event, Event::Gone { .. }));
        (exited == WORKERS && gone == WORKERS).then_some(())
    });
    patiently("the keeper's end", || hosted.has_left().is_some());
}

fn the_outer_process_dies() {
    let mut hosted = Hosted::start(Setup { with_children: true, ..Setup::default() });
    let worker = hosted.spawn_shell(1, "exec sleep 98765");
    hosted.kill_outer();
    patiently("the worker's end", || process::stat(worker).is_none_or(|stat| stat.state == 'Z'));
}
