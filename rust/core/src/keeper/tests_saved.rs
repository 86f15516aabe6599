//! A keeper that is taken apart and put together again is the same.

use super::tests::{converse, hello, keeper};
use super::{Keeper, Saved};
use crate::proto::messages::{Command, Event, Log, LogFormat, Phase, Spawn, StopPolicy};
use crate::proto::Channel;
use crate::state::{decode, encode, seal, Inherited, Unreadable, HEADER};
use crate::sys;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, Instant};

fn spawn(generation: u64, script: &str, log: Option<&Path>) -> Command {
    Command::Spawn(Spawn {
        worker: format!("w.{generation}"),
        generation,
        fingerprint: "f".into(),
        argv: ["sh", "-c", script].map(|word| word.as_bytes().to_vec().into()).to_vec(),
        env: vec![b"PATH=/usr/bin:/bin".to_vec().into()],
        tty: generation % 2 == 0,
        wave: 3,
        stop: StopPolicy { grace: 60_000, ..StopPolicy::default() },
        log: log.map(|path| Log { format: LogFormat::Prefixed, block: true, ..Log::at(path) }),
        ..Spawn::default()
    })
}

fn turn(keeper: &mut Keeper) {
    let mut ready = Vec::new();
    keeper.poller.wait(&mut ready, Some(1_000_000)).unwrap();
    keeper.now = sys::monotonic();
    for sys::Ready { token, read, write } in ready {
        keeper.dispatch(super::Token::unpack(token).unwrap(), read, write);
    }
}

fn until(keeper: &mut Keeper, what: &str, done: impl Fn(&mut Keeper) -> bool) {
    let begun = Instant::now();
    while !done(keeper) {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        turn(keeper);
    }
}

fn phase(keeper: &Keeper, generation: u64) -> Phase {
    keeper.workers[&generation].phase
}

/// Three workers: one that is asked to leave and does not, one in a terminal in the middle of a line, one that has ended.
fn busy(directory: &Path) -> (Keeper, Channel) {
    let (mut keeper, mut peer) = keeper();
    keeper.blob = vec![7; 100_000];
    peer.push(&hello()).unwrap();
    peer.push(&spawn(1, "trap '' TERM; echo one; echo two; while :; do sleep 60; done", Some(&directory.join("log"))))
        .unwrap();
    peer.push(&spawn(2, "printf 'half a line'; exec sleep 60", None)).unwrap();
    peer.push(&spawn(3, "exit 3", None)).unwrap();
    converse(&mut keeper, &mut peer);
    until(&mut keeper, "the end", |keeper| phase(keeper, 3) == Phase::Draining);
    until(&mut keeper, "the others", |keeper| {
        [1, 2].iter().all(|generation| phase(keeper, *generation) == Phase::Running)
    });
    until(&mut keeper, "two lines", |keeper| keeper.output.counters().received == 19);
    peer.push(&Command::Stop { worker: "w.1".into(), generation: 1, signal: None, grace: None }).unwrap();
    converse(&mut keeper, &mut peer);
    assert_eq!(phase(&keeper, 1), Phase::Stopping);
    keeper.output.ask_to_rest();
    until(&mut keeper, "the writer's rest", |keeper| keeper.output.rests());
    (keeper, peer)
}

fn directory(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("procq-saved-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn end(keeper: &Keeper) {
    keeper.workers.values().filter_map(|worker| worker.leader.as_ref()).for_each(|leader| {
        leader.signal_group(libc::SIGKILL);
        leader.signal(libc::SIGKILL);
        leader.wait().unwrap();
    });
}

#[test]
fn faults_13_39_a_keeper_comes_back_from_its_state_as_it_was() {
    let directory = directory("same");
    let (before, mut peer) = busy(&directory);
    let (saved, luggage) = before.save();
    let bytes = encode(&saved).unwrap();
    assert!(luggage.list().len() > 6);
    // Its descriptors stay open, as they do over an exec.
    std::mem::forget(before);
    let saved: Saved = decode(&bytes).unwrap();
    let inherited = Inherited::check(&saved.descriptors).unwrap();
    let mut after = Keeper::restore(saved, &inherited, true).unwrap();
    let again = encode(&after.save().0).unwrap();
    assert!(bytes == again, "it differs from what it was made of");
    inherited.close_rest();

    after.go_on().unwrap();
    peer.push(&Command::Stop { worker: "w.1".into(), generation: 1, signal: None, grace: Some(0) }).unwrap();
    let mut events = converse(&mut after, &mut peer);
    until(&mut after, "its end", |keeper| {
        keeper.run_timers();
        keeper.settle();
        phase(keeper, 1) == Phase::Gone
    });
    events.extend(converse(&mut after, &mut peer));
    let ended = |wanted: u64| {
        events.iter().any(|event| matches!(event, Event::Exited { generation, status, .. } if *generation == wanted && status.signal == Some(9)))
    };
    assert!(ended(1), "{events:?}");
    after.output.flush(Instant::now() + Duration::from_secs(10));
    let log = std::fs::read_to_string(directory.join("log")).unwrap();
    assert_eq!(log.lines().map(|line| line.rsplit("| ").next().unwrap()).collect::<Vec<_>>(), ["one", "two"]);
    end(&after);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_trial_needs_no_descriptor_and_touches_nothing() {
    let directory = directory("trial");
    let (keeper, _peer) = busy(&directory);
    let bytes = encode(&keeper.save().0).unwrap();
    let saved: Saved = decode(&bytes).unwrap();
    let trial = Keeper::restore(decode(&bytes).unwrap(), &Inherited::pretended(&saved.descriptors), true).unwrap();
    assert_eq!(trial.workers.len(), 3);
    assert!(keeper.workers[&2].leader.as_ref().is_some_and(|leader| !leader.has_ended()));
    end(&keeper);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_descriptor_that_is_missing_or_named_twice_is_found_before_any_is_touched() {
    let (keeper, _peer) = keeper();
    let (mut saved, _) = keeper.save();
    assert!(Inherited::check(&saved.descriptors).is_ok());
    saved.descriptors.push(saved.descriptors[0]);
    assert!(Inherited::check(&saved.descriptors).is_err());
    let nowhere = Newer { descriptors: vec![i32::MAX], what_nobody_knows_yet: Vec::new(), last_generation: 0 };
    let saved: Saved = decode(&encode(&nowhere).unwrap()).unwrap();
    assert!(Inherited::check(&saved.descriptors).is_err());
}

#[derive(Deserialize, Serialize)]
struct Newer {
    descriptors: Vec<i32>,
    what_nobody_knows_yet: Vec<(String, u64)>,
    last_generation: u64,
}

#[test]
fn what_a_newer_one_adds_is_ignored_and_what_it_leaves_out_has_a_default() {
    let newer = Newer { descriptors: vec![5], what_nobody_knows_yet: vec![("x".into(), 1)], last_generation: 17 };
    let saved: Saved = decode(&encode(&newer).unwrap()).unwrap();
    assert_eq!(saved.descriptors.len(), 1);
    let back: Newer = decode(&encode(&Newer { descriptors: Vec::new(), ..newer }).unwrap()).unwrap();
    assert_eq!(back.last_generation, 17);
}

#[test]
fn faults_65_a_state_cut_anywhere_or_with_any_bit_turned_is_refused() {
    let (keeper, _peer) = keeper();
    let bytes = encode(&keeper.save().0).unwrap();
    for length in 0..bytes.len() {
        assert!(matches!(decode::<Saved>(&bytes[..length]), Err(Unreadable::Damaged(_))), "cut at {length}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut harmed = bytes.clone();
        harmed[bit / 8] ^= 1 << (bit % 8);
        assert!(decode::<Saved>(&harmed).is_err(), "bit {bit}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(decode::<Saved>(&longer).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn bytes_of_nobody_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode::<Saved>(&bytes).is_err());
    }

    /// The checksum is right, the content is anything: it reads as something or not, and is no reason to panic.
    #[test]
    fn content_of_any_kind_is_refused_or_read(
        content in proptest::collection::vec(any::<u8>(), 0..300),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let sealed = |content: &[u8]| {
            let mut bytes = [&[0; HEADER], content].concat();
            seal(&mut bytes);
            bytes
        };
        let _ = decode::<Saved>(&sealed(&content));
        let (keeper, _peer) = keeper();
        let mut real = encode(&keeper.save().0).unwrap()[HEADER..].to_vec();
        changes.into_iter().for_each(|(at, byte)| {
            let at = at.index(real.len());
            real[at] = byte;
        });
        let _ = decode::<Saved>(&sealed(&real));
    }
}
