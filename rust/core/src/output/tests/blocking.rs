//! `full: block`: who would rather wait than lose anything.

use super::*;

fn blocking(path: &Path) -> Log {
    Log { block: true, ..Log::at(path) }
}

/// Offers lines until told to wait, or until there are enough.
fn offer(fixture: &mut Fixture, id: StreamId, numbers: &mut usize, enough: usize) {
    while *numbers < enough && fixture.output.may_read(id) {
        let _ = fixture.output.ingest(id, Stream::Stdout, 1, &numbered(*numbers..*numbers + 1_000));
        *numbers += 1_000;
    }
}

#[test]
fn a_full_disk_makes_its_worker_wait_and_nobody_else_and_nothing_is_lost() {
    let scratch = Scratch::new();
    if !small_disk(&scratch, "a_full_disk_makes_its_worker_wait_and_nobody_else_and_nothing_is_lost") {
        return;
    }
    let elsewhere = Scratch::new();
    let (path, other) = (scratch.path("w.log"), elsewhere.path("other.log"));
    let mut fixture = Fixture::new(plain(rustix::pipe::pipe().expect("a pipe").1));
    // Rotated as well: a line that was cut off by the full disk must be ended in the same file.
    let log = Log { block: true, ..rotated(&path, 300_000, 99) };
    let id = fixture.output.open("w.1", 1, Some(&log), None);
    let free = fixture.output.open("free.1", 2, Some(&Log::at(&other)), None);
    let (mut numbers, enough) = (0, 10 * 1024 * 1024 / LINE / 1_000 * 1_000);
    let mut trouble = None;
    while trouble.is_none() || fixture.output.may_read(id) {
        offer(&mut fixture, id, &mut numbers, enough);
        assert!(numbers < enough, "it has to wait before that");
        fixture.output.take_resumable(Instant::now());
        let refusal = fixture.output.take_troubles().into_iter().find(|trouble| trouble.problem == Problem::Data);
        trouble = trouble.or(refusal);
    }
    let trouble = trouble.expect("just seen");
    assert_eq!((trouble.errno, trouble.dropped), (libc::ENOSPC, 0));
    assert_eq!(fixture.output.deadline(), None, "nobody's patience ends");
    fixture.feed(free, b"free\n");
    wait_until("the other file", || std::fs::read(&other).is_ok_and(|content| content == b"free\n"));
    assert!(!fixture.output.may_read(id) && fixture.output.may_read(free));
    let grown = std::process::Command::new("mount").args(["-o", "remount,size=64m"]).arg(&scratch.0).status();
    assert!(grown.expect("mount").success());
    while numbers < enough {
        fixture.output.take_resumable(Instant::now());
        offer(&mut fixture, id, &mut numbers, enough);
    }
    fixture.flush();
    assert!(segments(&path).concat() == numbered(0..numbers), "all of it, in order");
    assert!(segments(&path).iter().all(|segment| segment.len() % LINE == 0 && segment.len() <= 300_000), "whole lines");
    let recovered = |trouble: &Trouble| (trouble.problem, trouble.errno, trouble.dropped) == (Problem::Data, 0, 0);
    assert!(fixture.output.take_troubles().iter().any(recovered));
    assert_eq!(fixture.stop().log_dropped, 0);
    rustix::mount::unmount(&scratch.0, rustix::mount::UnmountFlags::DETACH).expect("unmounted");
}

#[test]
fn changing_one_s_mind_lets_the_worker_go() {
    let scratch = Scratch::new();
    // Takes nothing, ever: as a disk that is full.
    let path = scratch.path("full");
    std::os::unix::fs::symlink("/dev/full", &path).expect("linked");
    let mut fixture = Fixture::new(plain(rustix::pipe::pipe().expect("a pipe").1));
    let id = fixture.output.open("w.1", 1, Some(&blocking(&path)), None);
    let mut numbers = 0;
    offer(&mut fixture, id, &mut numbers, usize::MAX);
    assert_eq!(fixture.trouble().errno, libc::ENOSPC);
    fixture.output.take_resumable(Instant::now());
    assert!(!fixture.output.may_read(id));
    fixture.output.configure(id, Some(&Log::at(&path)));
    wait_until("the worker to be let go", || fixture.output.take_resumable(Instant::now()).contains(&id));
    assert!(fixture.output.may_read(id));
    offer(&mut fixture, id, &mut numbers, 200_000);
    assert!(fixture.output.counters().log_dropped > 0, "and what follows is dropped and counted");
}

#[test]
fn the_last_words_of_those_who_died_have_a_bound() {
    let scratch = Scratch::new();
    let path = scratch.path("full");
    std::os::unix::fs::symlink("/dev/full", &path).expect("linked");
    let mut fixture = Fixture::new(plain(rustix::pipe::pipe().expect("a pipe").1));
    let mut offered = 0;
    for generation in 0..40 {
        let id = fixture.output.open("w.1", generation, Some(&blocking(&path)), None);
        if generation == 0 {
            let _ = fixture.output.ingest(id, Stream::Stdout, 1, &numbered(0..100_000));
            offered += 100_000 * LINE;
            assert_eq!(fixture.trouble().errno, libc::ENOSPC);
        }
        // What its pipe held is taken without asking.
        let _ = fixture.output.ingest(id, Stream::Stdout, 1, &numbered(0..20_000));
        offered += 20_000 * LINE;
        fixture.output.close(id);
    }
    let state = fixture.output.shared.lock();
    let (_, file) = state.files.iter().next().expect("one file");
    assert_eq!(file.gauge.pending() as u64 + file.gauge.lost_total(), offered as u64);
    assert!(file.gauge.lost_total() > 0 && file.gauge.pending() < 24 * 1024 * 1024, "{}", file.gauge.pending());
}
