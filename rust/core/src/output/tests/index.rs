use super::*;

const SECOND: u64 = 1_000_000_000;

fn records(path: &Path) -> Vec<(u64, u64)> {
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    read(&beside(path, "idx")).chunks_exact(16).map(|record| (number(&record[..8]), number(&record[8..]))).collect()
}

fn feed_at(fixture: &mut Fixture, id: StreamId, time: u64, data: &[u8]) {
    let _ = fixture.output.ingest(id, Stream::Stdout, time, data);
    fixture.flush();
}

#[test]
fn it_says_when_what_was_read_at_most_ten_times_a_second() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&Log::at(&path)), None);
    for (tenths, line) in [(10, "one\n"), (10, "two\n"), (11, "three\n"), (9, "clock set back\n"), (30, "later\n")] {
        feed_at(&mut fixture, id, tenths * SECOND / 10, line.as_bytes());
    }
    assert_eq!(records(&path), [(0, SECOND), (8, 11 * SECOND / 10), (29, 3 * SECOND)]);
    // Read apart, written at once.
    let _ = fixture.output.ingest(id, Stream::Stdout, 4 * SECOND, b"four\n");
    let _ = fixture.output.ingest(id, Stream::Stdout, 5 * SECOND, b"five\n");
    fixture.flush();
    assert_eq!(records(&path)[3..], [(35, 4 * SECOND), (40, 5 * SECOND)]);
    assert_eq!(read(&path), b"one\ntwo\nthree\nclock set back\nlater\nfour\nfive\n");
}

#[test]
fn each_closed_file_keeps_its_own() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&rotated(&path, 4 * LINE as u64, 9)), None);
    for number in 0..10 {
        feed_at(&mut fixture, id, (number as u64 + 1) * SECOND, &numbered(number..number + 1));
    }
    let line = LINE as u64;
    let four = |first: u64| -> Vec<(u64, u64)> { (0..4).map(|n| (n * line, (first + n) * SECOND)).collect() };
    assert_eq!((records(&beside(&path, 2)), records(&beside(&path, 1))), (four(1), four(5)));
    assert_eq!(records(&path), [(0, 9 * SECOND), (line, 10 * SECOND)]);
}

#[test]
fn it_goes_on_after_a_restart_and_a_torn_record() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    for (life, before) in [(1, 0), (2, 1), (3, 2)] {
        let mut fixture = Fixture::silent();
        let id = fixture.output.open("w.1", 1, Some(&Log::at(&path)), None);
        feed_at(&mut fixture, id, life * SECOND, b"hello\n");
        fixture.stop();
        assert_eq!(read(&beside(&path, "idx")).len(), 16 * (before + 1), "whole records");
        let torn = [read(&beside(&path, "idx")), b"torn".to_vec()].concat();
        std::fs::write(beside(&path, "idx"), torn).expect("written");
    }
    assert_eq!(
        records(&path).iter().take(3).copied().collect::<Vec<_>>(),
        [(0, SECOND), (6, 2 * SECOND), (12, 3 * SECOND)]
    );
}

#[test]
fn it_begins_anew_with_a_file_that_is_another_or_shorter() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&Log::at(&path)), None);
    (1..=3).for_each(|time| feed_at(&mut fixture, id, time * SECOND, b"12345\n"));
    File::options().write(true).open(&path).expect("opened").set_len(0).expect("truncated");
    feed_at(&mut fixture, id, 4 * SECOND, b"after\n");
    assert_eq!((read(&path), records(&path)), (b"after\n".to_vec(), vec![(0, 4 * SECOND)]));
    std::fs::remove_file(&path).expect("removed");
    let mut time = 5;
    wait_until("a new file", || {
        feed_at(&mut fixture, id, time * SECOND, b"new\n");
        time += 1;
        path.exists()
    });
    assert_eq!(records(&path), [(0, (time - 1) * SECOND)]);
    fixture.stop();
    // Longer than the file it lies beside: it cannot be that file's.
    std::fs::write(&path, b"x\n").expect("written");
    std::fs::write(beside(&path, "idx"), [3_u64.to_le_bytes(), 1_u64.to_le_bytes()].concat()).expect("written");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&Log::at(&path)), None);
    feed_at(&mut fixture, id, 100 * SECOND, b"y\n");
    assert_eq!(records(&path), [(2, 100 * SECOND)]);
}

#[test]
fn where_there_can_be_none_the_file_does_not_care() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    std::fs::create_dir(beside(&path, "idx")).expect("created");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&rotated(&path, 2 * LINE as u64, 3)), None);
    feed_at(&mut fixture, id, SECOND, &numbered(0..5));
    assert_eq!(segments(&path), [numbered(0..2), numbered(2..4), numbered(4..5)]);
    assert!(fixture.output.take_troubles().is_empty());
}

#[test]
fn a_link_in_its_place_is_not_followed() {
    let scratch = Scratch::new();
    let (path, victim) = (scratch.path("w.log"), scratch.path("victim"));
    std::fs::write(&victim, b"precious").expect("written");
    std::os::unix::fs::symlink(&victim, beside(&path, "idx")).expect("linked");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&Log::at(&path)), None);
    feed_at(&mut fixture, id, SECOND, b"hello\n");
    assert_eq!((read(&path), read(&victim)), (b"hello\n".to_vec(), b"precious".to_vec()));
}

#[test]
fn another_name_of_somebody_s_file_is_no_index() {
    let scratch = Scratch::new();
    let (path, victim) = (scratch.path("w.log"), scratch.path("victim"));
    std::fs::write(&victim, b"precious").expect("written");
    std::fs::hard_link(&victim, beside(&path, "idx")).expect("linked");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&Log::at(&path)), None);
    feed_at(&mut fixture, id, SECOND, b"hello\n");
    assert_eq!((read(&path), read(&victim)), (b"hello\n".to_vec(), b"precious".to_vec()));
}
