use super::*;

#[test]
fn faults_37_a_file_gets_all_256_values_as_they_were_written_however_they_were_read() {
    let scratch = Scratch::new();
    let path = scratch.path("deep/er/worker.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&Log::at(&path)), None);
    let mut dice = Dice(7);
    let data: Vec<u8> = (0..3_000_000).map(|_| dice.roll(256) as u8).collect();
    let mut rest = &data[..];
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at((dice.roll(200_000) + 1).min(rest.len()));
        fixture.feed(id, chunk);
        rest = after;
    }
    fixture.output.close(id);
    fixture.flush();
    assert!(read(&path) == data, "bytes differ");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777 & !0o640, 0);
    let counters = fixture.stop();
    assert_eq!((counters.logged, counters.log_dropped, counters.shown), (3_000_000, 0, 3_000_000));
}

#[test]
fn workers_and_streams_that_share_a_file_tear_no_line() {
    let scratch = Scratch::new();
    let path = scratch.path("shared.log");
    let mut fixture = Fixture::silent();
    let ids: Vec<StreamId> =
        (0..4).map(|slot| fixture.output.open(&format!("w.{slot}"), 1, Some(&Log::at(&path)), None)).collect();
    let mut dice = Dice(11);
    let line = |who: usize, number: usize| format!("{who} {number} {}\n", "x".repeat(number % 150));
    let texts: Vec<String> = (0..8).map(|who| (0..400).map(|number| line(who, number)).collect()).collect();
    let mut rests: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    while rests.iter().any(|rest| !rest.is_empty()) {
        let who = dice.roll(8);
        let (chunk, rest) = rests[who].split_at(dice.roll(300).min(rests[who].len()));
        let stream = if who % 2 == 0 { Stream::Stdout } else { Stream::Stderr };
        let _ = fixture.output.ingest(ids[who / 2], stream, 1, chunk);
        rests[who] = rest;
    }
    fixture.flush();
    let written = String::from_utf8(read(&path)).expect("text");
    for (who, text) in texts.iter().enumerate() {
        let mine: String = written.split_inclusive('\n').filter(|line| line.starts_with(&format!("{who} "))).collect();
        assert!(mine == *text, "lines of {who}");
    }
    assert_eq!(written.len(), texts.iter().map(String::len).sum::<usize>());
}

#[test]
fn a_deleted_or_renamed_file_is_made_anew() {
    let scratch = Scratch::new();
    let (path, moved) = (scratch.path("logs/w.log"), scratch.path("w.old"));
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&Log::at(&path)), None);
    fixture.feed(id, b"first\n");
    fixture.flush();
    std::fs::rename(&path, &moved).expect("renamed");
    // The path is looked at five times a second, so what comes at once may still belong to the old file.
    wait_until("a new file after a rename", || {
        fixture.feed(id, b"second\n");
        fixture.flush();
        path.exists()
    });
    assert!(read(&moved).starts_with(b"first\n"));
    assert!(read(&path).starts_with(b"second\n"));
    std::fs::remove_dir_all(scratch.path("logs")).expect("removed");
    wait_until("a new directory", || {
        fixture.feed(id, b"third\n");
        fixture.flush();
        path.exists()
    });
    assert!(fixture.output.take_troubles().is_empty());
}

#[test]
fn another_file_takes_over_where_the_former_ends() {
    let scratch = Scratch::new();
    let (one, two) = (scratch.path("one"), scratch.path("two"));
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&Log::at(&one)), None);
    fixture.feed(id, b"to one\nunfinished ");
    fixture.output.configure(id, Some(&Log::at(&two)));
    fixture.feed(id, b"line\n");
    fixture.output.configure(id, None);
    fixture.feed(id, b"to nobody\n");
    fixture.flush();
    assert_eq!((read(&one), read(&two)), (b"to one\n".to_vec(), b"unfinished line\n".to_vec()));
    wait_until("unused files closed", || fixture.output.shared.lock().files.iter().count() == 0);
}

#[test]
fn a_file_that_cannot_be_opened_is_told_and_loses_nothing_that_fits() {
    let scratch = Scratch::new();
    let blocker = scratch.path("blocker");
    std::fs::write(&blocker, b"a file where a directory should be").expect("written");
    let path = blocker.join("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&Log::at(&path)), None);
    fixture.feed(id, b"kept\n");
    let trouble = fixture.trouble();
    assert_eq!((trouble.worker.as_str(), &trouble.path, trouble.errno), ("w.1", &path, libc::ENOTDIR));
    std::fs::remove_file(&blocker).expect("removed");
    let recovery = fixture.trouble();
    assert_eq!((recovery.errno, recovery.dropped), (0, 0));
    fixture.flush();
    assert_eq!(read(&path), b"kept\n");
}

/// A reader that never comes stands for a disk that hangs: no error, no progress.
#[test]
fn a_stalled_destination_makes_workers_wait_and_then_drops_exactly() {
    let scratch = Scratch::new();
    let path = scratch.path("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
    let mut reader = File::options().read(true).write(true).open(&path).expect("opened");
    // A console that makes nobody wait: who is told to pause here waits for the file.
    let mut fixture = Fixture::new(plain(rustix::pipe::pipe().expect("a pipe").1));
    let id = fixture.output.open("w.1", 1, Some(&Log::at(&path)), None);
    let chunk = [b"y".repeat(79), b"\n".to_vec()].concat().repeat(800);
    let began = Instant::now();
    let mut offered = 0_u64;
    while fixture.output.ingest(id, Stream::Stdout, 1, &chunk) == Flow::Continue {
        offered += chunk.len() as u64;
    }
    offered += chunk.len() as u64;
    assert!(began.elapsed() < STALL, "ingest must not wait");
    assert!(!fixture.output.may_read(id));
    let trouble = fixture.trouble();
    assert_eq!(trouble.errno, libc::ETIMEDOUT);
    assert!(began.elapsed() >= STALL && fixture.output.may_read(id));
    for _ in 0..50 {
        assert_eq!(fixture.output.ingest(id, Stream::Stdout, 1, &chunk), Flow::Continue);
        offered += chunk.len() as u64;
    }
    let mut got = 0;
    let mut recovery = None;
    while recovery.is_none() {
        got += read_now(&reader).len();
        recovery = fixture.output.take_troubles().pop();
    }
    let recovery = recovery.expect("just seen");
    assert_eq!((recovery.errno, recovery.dropped > 0), (0, true));
    while (got as u64) < offered - recovery.dropped {
        let mut buffer = vec![0; 65536];
        got += reader.read(&mut buffer).expect("readable");
    }
    fixture.flush();
    assert_eq!(got as u64 + read_now(&reader).len() as u64, offered - recovery.dropped);
    assert_eq!(fixture.stop().log_dropped, recovery.dropped);
}

#[test]
fn a_full_disk_drops_and_counts_and_recovers() {
    let scratch = Scratch::new();
    let options = std::ffi::CString::new("size=1m").expect("no NUL");
    if let Err(error) =
        rustix::mount::mount("procq-test", &scratch.0, "tmpfs", rustix::mount::MountFlags::empty(), &*options)
    {
        eprintln!("SKIPPED a_full_disk_drops_and_counts_and_recovers: no tmpfs can be mounted here ({error})");
        return;
    }
    let path = scratch.path("w.log");
    let ballast = scratch.path("ballast");
    std::fs::write(&ballast, vec![0; 700_000]).expect("written");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&Log::at(&path)), None);
    let mut offered = Vec::new();
    let mut number = 0;
    let mut feed = |fixture: &mut Fixture, offered: &mut Vec<u8>, lines: usize| {
        let chunk: Vec<u8> =
            (number..number + lines).flat_map(|number| format!("line {number:074}\n").into_bytes()).collect();
        number += lines;
        fixture.feed(id, &chunk);
        offered.extend(chunk);
    };
    (0..8).for_each(|_| feed(&mut fixture, &mut offered, 800));
    let trouble = fixture.trouble();
    assert_eq!((trouble.errno, trouble.dropped), (libc::ENOSPC, 0));
    (0..80).for_each(|_| feed(&mut fixture, &mut offered, 800));
    assert!(fixture.output.counters().log_dropped > 0);
    let grown = format!("remount,size={}m", 32);
    assert!(std::process::Command::new("mount")
        .args(["-o", &grown])
        .arg(&scratch.0)
        .status()
        .expect("mount")
        .success());
    let recovery = fixture.trouble();
    assert_eq!(recovery.errno, 0);
    feed(&mut fixture, &mut offered, 800);
    fixture.flush();
    let written = read(&path);
    assert_eq!(written.len() as u64 + recovery.dropped, offered.len() as u64);
    let lines: Vec<usize> = String::from_utf8(written)
        .expect("text")
        .lines()
        .map(|line| line.strip_prefix("line ").expect("whole lines").parse().expect("a number"))
        .collect();
    assert!(lines.is_sorted_by(|a, b| a < b), "order, no line twice");
    assert_eq!(*lines.last().expect("some"), 89 * 800 - 1);
    fixture.stop();
    rustix::mount::unmount(&scratch.0, rustix::mount::UnmountFlags::DETACH).expect("unmounted");
}
