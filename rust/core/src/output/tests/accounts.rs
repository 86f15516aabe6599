use super::*;
use crate::state::{decode, encode, Inherited, Luggage};

fn account(output: &mut Output, queue: &str) -> Account {
    output.accounts().find(|(name, _)| *name == queue).map(|(_, account)| *account).unwrap_or_default()
}

#[test]
fn bytes_and_lines_are_those_that_were_written_however_they_were_read() {
    let mut fixture = Fixture::silent();
    let output = &mut fixture.output;
    let (one, two) = (output.open("w.1", 1, None, None), output.open("w.2", 2, None, None));
    let _ = output.ingest(one, Stream::Stdout, 1, b"a\nb");
    let _ = output.ingest(one, Stream::Stderr, 1, b"of the other stream");
    assert_eq!(account(output, "w"), Account { bytes: 22, lines: 1, ..Account::default() });
    let _ = output.ingest(one, Stream::Stdout, 2, b"b\n\n");
    let _ = output.ingest(two, Stream::Stdout, 2, b"c\n");
    assert_eq!(account(output, "w").lines, 4);
    output.close(one);
    assert_eq!(
        account(output, "w"),
        Account { bytes: 27, lines: 5, ..Account::default() },
        "a last line without an end"
    );
    output.close(two);
    output.forget("w.1", 1);
    let again = output.open("w.1", 3, None, None);
    let _ = output.ingest(again, Stream::Stdout, 3, b"d\n");
    assert_eq!(account(output, "w"), Account { bytes: 29, lines: 6, ..Account::default() }, "it outlives its workers");
}

#[test]
fn a_line_that_was_cut_is_one_line_wherever_its_end_is() {
    let mut fixture = Fixture::silent();
    let output = &mut fixture.output;
    for (worker, rest) in [("whole.1", &b"\n"[..]), ("open.1", b""), ("more.1", b"x")] {
        let id = output.open(worker, 1, None, None);
        let _ = output.ingest(id, Stream::Stdout, 1, &[&[b'x'; 2 * LINE_CAP][..], rest].concat());
        output.close(id);
        let queue = worker.trim_end_matches(".1");
        let expected = Account { bytes: 2 * LINE_CAP as u64 + rest.len() as u64, lines: 1, ..Account::default() };
        assert_eq!(account(output, queue), expected, "{queue}");
    }
}

#[test]
fn the_control_plane_is_no_queue() {
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("procq", 0, None, None);
    let _ = fixture.output.ingest(id, Stream::Stderr, 1, b"a traceback\n");
    assert_eq!(fixture.output.accounts().count(), 0);
}

#[test]
fn what_is_dropped_is_counted_for_the_queue_that_wrote_it() {
    let (fd, peer) = rustix::pipe::pipe().map(|(reader, writer)| (writer, reader)).unwrap();
    let mut fixture = Fixture::new(ConsoleConfig { fd, prefix: false, colour: false, width: 0, raw: true, most: None });
    let reader = fixture.output.subscribe(Interest { workers: vec!["loud".into()], tail: 0, follow: true });
    let (loud, calm) = (fixture.output.open("loud.1", 1, None, None), fixture.output.open("calm.1", 2, None, None));
    let _ = fixture.output.ingest(calm, Stream::Stdout, 1, b"a line\n");
    let block = b"0123456789abcde\n".repeat(4096);
    // Nobody reads the pipe: it and the queue before it fill.
    (0..200).for_each(|_| _ = fixture.output.ingest(loud, Stream::Stdout, 1, &block));
    let (counters, found) = (fixture.output.counters(), account(&mut fixture.output, "loud"));
    assert_eq!((found.bytes, found.lines), (200 * block.len() as u64, 200 * 4096));
    assert!(found.console_dropped > 0 && found.readers_dropped > 0);
    assert_eq!(found.console_dropped, counters.console_dropped);
    assert_eq!((found.readers_dropped, found.file_dropped), (counters.subscribers_dropped, 0));
    assert_eq!(account(&mut fixture.output, "calm"), Account { bytes: 7, lines: 1, ..Account::default() });
    let (mut seen, mut missed) = (0, 0);
    while let Some(delivery) = fixture.output.next_delivery(reader) {
        match delivery {
            Delivery::Output(line) => seen += memchr::memchr_iter(b'\n', &line.data).count() as u64,
            Delivery::Gap { lines, .. } => missed += lines,
            Delivery::TailEnd => {}
        }
    }
    assert_eq!(seen + missed, found.lines, "a gap knows its lines");
    drop(peer);
}

#[test]
fn what_a_console_leaves_behind_at_its_end_is_counted_for_the_queues_that_wrote_it() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let mut fixture = Fixture::new(plain(writer));
    let (loud, calm) = (fixture.output.open("loud.1", 1, None, None), fixture.output.open("calm.1", 2, None, None));
    let block = b"0123456789abcde\n".repeat(4096);
    // More than the pipe holds, and less than the queue before it: nothing of it is lost yet.
    for _ in 0..50 {
        let _ = fixture.output.ingest(loud, Stream::Stdout, 1, &block);
        let _ = fixture.output.ingest(calm, Stream::Stdout, 1, b"a line\n");
    }
    fixture.output.console_line("procq: of no queue");
    assert_eq!(fixture.output.counters().console_dropped, 0);
    drop(reader);
    let offered = 50 * (block.len() as u64 + 7) + 19;
    fixture.flush();
    let counters = fixture.output.counters();
    assert_eq!(counters.shown + counters.console_dropped, offered);
    let _ = fixture.output.ingest(loud, Stream::Stdout, 1, b"and nobody will see this\n");
    let dropped =
        [account(&mut fixture.output, "loud").console_dropped, account(&mut fixture.output, "calm").console_dropped];
    assert!(dropped.iter().all(|&bytes| bytes > 0), "{dropped:?}");
    assert_eq!(dropped.iter().sum::<u64>(), counters.console_dropped - 19 + 25, "all but procq's own line");
    assert_eq!(account(&mut fixture.output, "loud").console_dropped, dropped[0], "counted once");
}

/// The same in the next image, with a duplicate of `console`.
fn handed_on(mut fixture: Fixture, console: &OwnedFd) -> Fixture {
    fixture.output.ask_to_rest();
    wait_until("the writer to rest", || fixture.output.rests());
    let saved = encode(&fixture.output.save(&mut Luggage::default())).unwrap();
    let (bell, console) = (fixture.bell.try_clone().unwrap(), plain(console.try_clone().unwrap()));
    let inherited = Inherited::check(&[]).unwrap();
    let output = Output::restore(decode(&saved).unwrap(), console, bell, &inherited).unwrap();
    let mut next = Fixture { output, bell: fixture.bell.try_clone().unwrap() };
    next.output.go_on().unwrap();
    next
}

#[test]
fn what_a_console_leaves_behind_is_counted_over_upgrades_too() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let mut fixture = Fixture::new(plain(writer.try_clone().unwrap()));
    let id = fixture.output.open("loud.1", 1, None, None);
    let block = b"0123456789abcde\n".repeat(4096);
    (0..50).for_each(|_| _ = fixture.output.ingest(id, Stream::Stdout, 1, &block));
    // In the middle of a batch, and then after the end, before anybody has asked.
    wait_until("the pipe to be full", || fixture.output.shared.lock().console.stuck);
    let mut fixture = handed_on(fixture, &writer);
    drop(reader);
    fixture.flush();
    let mut fixture = handed_on(fixture, &writer);
    let counters = fixture.output.counters();
    assert!(counters.console_dropped > 0 && counters.console_dropped + counters.shown == 50 * block.len() as u64);
    assert_eq!(account(&mut fixture.output, "loud").console_dropped, counters.console_dropped);
}

#[test]
fn a_file_that_takes_nothing_is_counted() {
    let scratch = Scratch::new();
    let mut fixture = Fixture::silent();
    let log = Log::at(&scratch.path("no/such/directory.log"));
    std::fs::write(scratch.path("no"), "a file in the way").unwrap();
    let id = fixture.output.open("w.1", 1, Some(&log), None);
    let line = vec![b'x'; 1 << 20];
    let started = Instant::now();
    while account(&mut fixture.output, "w").file_dropped == 0 && started.elapsed() < LIMIT {
        let _ = fixture.output.ingest(id, Stream::Stdout, 1, &line);
        fixture.output.take_resumable(Instant::now());
    }
    let before = account(&mut fixture.output, "w");
    assert_eq!(before.file_dropped, fixture.output.counters().log_dropped);
    assert!(before.file_dropped > 0);
}
