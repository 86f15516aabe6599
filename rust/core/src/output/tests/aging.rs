//! Rotation by age.

use super::*;
use crate::sys;

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;
const SHORT: u64 = 100;

/// Closed so many milliseconds after its first byte.
fn aging(path: &Path, milliseconds: u64) -> Log {
    Log { rotate_every: Some(milliseconds), keep: 9, ..Log::at(path) }
}

fn feed_at(fixture: &mut Fixture, id: StreamId, time: u64, data: &[u8]) {
    let _ = fixture.output.ingest(id, Stream::Stdout, time, data);
    fixture.flush();
}

/// What an earlier life has left: a line that was read so long ago.
fn leave(path: &Path, age: u64, line: &[u8]) {
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&Log::at(path)), None);
    feed_at(&mut fixture, id, sys::wall() - age, line);
    fixture.stop();
}

#[test]
fn a_file_is_closed_when_it_is_old_even_if_nobody_writes_and_an_empty_one_is_not() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&aging(&path, SHORT)), None);
    for number in 0..3 {
        fixture.feed(id, &numbered(number..number + 1));
        wait_until("the file to be closed", || {
            std::fs::read(beside(&path, 1)).is_ok_and(|content| content == numbered(number..number + 1))
        });
        // Empty for longer than it would be let be with a line in it.
        let emptied = Instant::now();
        wait_until("time to pass", || emptied.elapsed() > Duration::from_millis(2 * SHORT));
    }
    assert_eq!(segments(&path), [numbered(0..1), numbered(1..2), numbered(2..3), vec![]]);
}

#[test]
fn the_age_of_what_an_earlier_life_has_left_counts() {
    let scratch = Scratch::new();
    for (name, every, closed) in [("older", HOUR / 2, true), ("younger", 2 * HOUR, false)] {
        let path = scratch.path(name);
        leave(&path, HOUR, b"old\n");
        let mut fixture = Fixture::silent();
        let id = fixture.output.open("w.1", 1, Some(&aging(&path, every / 1_000_000)), None);
        if closed {
            // Nobody has written anything yet.
            wait_until("it to be closed", || beside(&path, 1).exists());
        }
        fixture.feed(id, b"new\n");
        fixture.flush();
        let expected: &[&[u8]] = if closed { &[b"old\n", b"new\n"] } else { &[b"old\nnew\n"] };
        assert_eq!(segments(&path), expected, "{name}");
    }
}

#[test]
fn without_an_index_a_file_is_as_old_as_it_was_made_or_as_young_as_it_was_written() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    leave(&path, HOUR, b"old\n");
    std::fs::remove_file(beside(&path, "idx")).expect("removed");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&aging(&path, HOUR / 2 / 1_000_000)), None);
    fixture.feed(id, b"new\n");
    fixture.flush();
    assert_eq!(segments(&path), [b"old\nnew\n"], "made just now, as far as anybody knows");
}

#[test]
fn faults_50_a_clock_that_is_set_closes_nothing_too_early() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let every = 2 * HOUR / 1_000_000;
    let id = fixture.output.open("w.1", 1, Some(&aging(&path, every)), None);
    // By the clock of the wall the second line comes a year after the first, the third a day before it.
    for time in [sys::wall(), sys::wall() + 365 * 24 * HOUR, sys::wall() - 24 * HOUR] {
        feed_at(&mut fixture, id, time, b"line\n");
    }
    assert_eq!(segments(&path), [b"line\nline\nline\n"]);
    fixture.stop();
    // Read, as its index has it, in a time to come.
    std::fs::write(
        beside(&path, "idx"),
        [0, (sys::wall() + HOUR).to_le().cast_signed()].map(i64::to_le_bytes).concat(),
    )
    .expect("written");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&aging(&path, every)), None);
    fixture.feed(id, b"line\n");
    fixture.flush();
    assert_eq!(segments(&path), [b"line\nline\nline\nline\n"]);
}

#[test]
fn it_goes_together_with_a_size() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let log = Log { rotate: Some(2 * LINE as u64), ..aging(&path, SHORT) };
    let id = fixture.output.open("w.1", 1, Some(&log), None);
    fixture.feed(id, &numbered(0..5));
    let closed = [numbered(0..2), numbered(2..4), numbered(4..5), vec![]];
    wait_until("the rest to be old", || segments_now(&path).is_some_and(|all| all == closed));
}

#[test]
fn a_line_that_has_begun_is_ended_in_its_file_however_old_that_is() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&aging(&path, SHORT)), None);
    // Longer than what the framer holds: a part of the line is in the file.
    fixture.feed(id, &[b'x'; LINE_CAP + 10]);
    fixture.flush();
    let begun = Instant::now();
    wait_until("time to pass", || begun.elapsed() > Duration::from_millis(2 * SHORT));
    assert!(!beside(&path, 1).exists());
    fixture.feed(id, b"end\nnext\n");
    fixture.flush();
    assert_eq!(segments(&path), [[&[b'x'; LINE_CAP + 10][..], b"end\n"].concat(), b"next\n".to_vec()]);
}

#[test]
fn an_age_that_is_set_later_counts_for_the_file_there_is() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&Log::at(&path)), None);
    fixture.feed(id, b"line\n");
    fixture.flush();
    fixture.output.configure(id, Some(&aging(&path, SHORT)));
    wait_until("the file to be closed", || beside(&path, 1).exists());
    fixture.output.configure(id, Some(&Log::at(&path)));
    fixture.feed(id, b"more\n");
    fixture.flush();
    assert_eq!(segments(&path), [b"line\n", b"more\n"]);
}
