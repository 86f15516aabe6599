//! Rotation: FAULTS 35 as far as one writer and one file show it.

use super::*;

#[test]
fn a_file_never_grows_beyond_its_size_and_no_line_is_lost_or_divided() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&rotated(&path, 10_000, 1_000)), None);
    let data = numbered(0..20_000);
    let mut dice = Dice(3);
    let mut rest = &data[..];
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at((dice.roll(30_000) + 1).min(rest.len()));
        fixture.feed(id, chunk);
        rest = after;
    }
    fixture.flush();
    let segments = segments(&path);
    assert!(segments.concat() == data, "in order, each once");
    assert!(segments.iter().all(|segment| segment.len() <= 10_000 && segment.len() % LINE == 0));
    assert_eq!(segments.len(), data.len() / 10_000);
    assert_eq!(fixture.stop().logged, data.len() as u64);
}

#[test]
fn the_oldest_fall_away_with_their_indexes() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&rotated(&path, 500, 2)), None);
    fixture.feed(id, &numbered(0..95));
    fixture.flush();
    assert_eq!(names(&scratch.0), ["w.log", "w.log.1", "w.log.1.idx", "w.log.2", "w.log.2.idx", "w.log.idx"]);
    assert!(segments(&path).concat() == numbered(70..95));
    // A smaller `keep` takes what the larger one has left.
    fixture.output.configure(id, Some(&rotated(&path, 500, 1)));
    fixture.feed(id, &numbered(95..105));
    fixture.flush();
    assert_eq!(names(&scratch.0), ["w.log", "w.log.1", "w.log.1.idx", "w.log.idx"]);
    fixture.output.configure(id, Some(&rotated(&path, 500, 0)));
    fixture.feed(id, &numbered(105..111));
    fixture.flush();
    assert_eq!(names(&scratch.0), ["w.log", "w.log.idx"]);
    assert!(read(&path) == numbered(110..111), "begun anew");
}

#[test]
fn what_is_in_a_file_at_the_start_counts() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    std::fs::write(&path, numbered(0..8)).expect("written");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&rotated(&path, 10 * LINE as u64, 3)), None);
    fixture.feed(id, &numbered(8..12));
    fixture.flush();
    assert_eq!(segments(&path), [numbered(0..10), numbered(10..12)]);
}

#[test]
fn workers_that_share_a_file_go_by_the_latest_word() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let first = fixture.output.open("w.1", 1, Some(&Log::at(&path)), None);
    fixture.feed(first, &numbered(0..20));
    fixture.flush();
    let second = fixture.output.open("w.2", 2, Some(&rotated(&path, 10 * LINE as u64, 9)), None);
    fixture.feed(first, &numbered(20..25));
    fixture.feed(second, &numbered(25..35));
    fixture.flush();
    assert_eq!(segments(&path), [numbered(0..20), numbered(20..30), numbered(30..35)]);
    fixture.output.configure(second, Some(&Log::at(&path)));
    fixture.feed(first, &numbered(35..60));
    fixture.flush();
    assert_eq!(segments(&path).len(), 3, "not rotated any more");
    assert!(segments(&path).concat() == numbered(0..60));
}

#[test]
fn a_crash_between_any_two_renames_costs_nothing() {
    // What the third rotation with `keep: 3` leaves when it is cut off after so many renames.
    for renames in 0..=3 {
        let scratch = Scratch::new();
        let path = scratch.path("w.log");
        for (number, line) in [(2, 0), (1, 1)] {
            std::fs::write(beside(&path, number), numbered(line..line + 1)).expect("written");
        }
        std::fs::write(&path, numbered(2..3)).expect("written");
        for (done, number) in [2, 1, 0].into_iter().enumerate().take(renames) {
            let from = if number == 0 { path.clone() } else { beside(&path, number) };
            std::fs::rename(from, beside(&path, number + 1)).unwrap_or_else(|_| panic!("rename {done}"));
        }
        let mut fixture = Fixture::silent();
        let id = fixture.output.open("w.1", 1, Some(&rotated(&path, LINE as u64, 3)), None);
        fixture.feed(id, &numbered(3..4));
        fixture.flush();
        assert_eq!(segments(&path), [numbered(0..1), numbered(1..2), numbered(2..3), numbered(3..4)], "{renames}");
    }
}

#[test]
fn a_gap_among_the_closed_files_is_filled_before_anything_falls_away() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    for (number, line) in [(4, 0), (3, 1), (1, 2)] {
        std::fs::write(beside(&path, number), numbered(line..line + 1)).expect("written");
    }
    std::fs::write(&path, numbered(3..4)).expect("written");
    std::fs::write(beside(&path, "2.idx"), b"of a file that is gone").expect("written");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&rotated(&path, LINE as u64, 4)), None);
    fixture.feed(id, &numbered(4..5));
    fixture.flush();
    let expected: Vec<Vec<u8>> = (0..5).map(|line| numbered(line..line + 1)).collect();
    assert_eq!(segments(&path), expected);
    assert!(!beside(&path, "2.idx").exists(), "a stranger's index is worse than none");
    fixture.feed(id, &numbered(5..6));
    fixture.flush();
    assert_eq!(segments(&path)[0], numbered(1..2), "now there is none, and the oldest goes");
}

#[test]
fn a_line_longer_than_a_file_stays_in_one_piece() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&rotated(&path, 100, 9)), None);
    // Longer than what the framer holds, too: it comes in several pieces.
    let long = [vec![b'x'; 3 * LINE_CAP + 5], b"\n".to_vec()].concat();
    fixture.feed(id, b"short\n");
    long.chunks(20_000).for_each(|chunk| fixture.feed(id, chunk));
    fixture.feed(id, b"after\n");
    fixture.flush();
    assert!(segments(&path) == [b"short\n".to_vec(), long, b"after\n".to_vec()]);
}

#[test]
fn output_without_any_line_is_divided_at_last() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&rotated(&path, 1_000, 9)), None);
    (0..60).for_each(|_| fixture.feed(id, &[b'x'; LINE_CAP]));
    fixture.flush();
    let sizes: Vec<usize> = segments(&path).iter().map(Vec::len).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 60 * LINE_CAP);
    let bound = cut::OVERHANG as usize + 1_000 + cut::STEP;
    assert!(sizes.len() > 2 && sizes.iter().all(|&size| size <= bound), "{sizes:?}");
}

#[test]
fn renamed_truncated_or_deleted_by_somebody_else_it_goes_on() {
    let scratch = Scratch::new();
    let (path, moved) = (scratch.path("w.log"), scratch.path("moved"));
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&rotated(&path, 10 * LINE as u64, 9)), None);
    fixture.feed(id, &numbered(0..8));
    fixture.flush();
    std::fs::rename(&path, &moved).expect("renamed");
    // Too much for the old one: the new one begins at once, and nothing is shifted.
    fixture.feed(id, &numbered(8..12));
    fixture.flush();
    assert_eq!((read(&moved), segments(&path)), (numbered(0..10), vec![numbered(10..12)]));
    File::options().write(true).open(&path).expect("opened").set_len(0).expect("truncated");
    fixture.feed(id, &numbered(12..21));
    fixture.flush();
    assert_eq!(segments(&path), [numbered(12..21)], "its real size counts");
    std::fs::remove_file(&path).expect("removed");
    fixture.feed(id, &numbered(21..24));
    fixture.flush();
    assert_eq!(segments(&path), [numbered(21..24)], "what was written after that has not gone with it");
    assert!(fixture.output.take_troubles().is_empty());
}

#[test]
fn a_file_that_somebody_else_has_put_there_is_gone_on_with() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&rotated(&path, 10 * LINE as u64, 9)), None);
    fixture.feed(id, &numbered(0..10));
    fixture.flush();
    std::fs::rename(&path, scratch.path("moved")).expect("renamed");
    std::fs::write(&path, b"hello\n").expect("written");
    fixture.feed(id, &numbered(10..12));
    fixture.flush();
    assert_eq!(segments(&path), [[b"hello\n".to_vec(), numbered(10..12)].concat()]);
}

#[test]
fn what_is_no_file_is_not_rotated() {
    let scratch = Scratch::new();
    let (fifo, link, device) = (scratch.path("fifo"), scratch.path("link"), scratch.path("device"));
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    std::os::unix::fs::symlink(&fifo, &link).expect("linked");
    std::os::unix::fs::symlink("/dev/null", &device).expect("linked");
    let mut reader = File::options().read(true).write(true).open(&fifo).expect("opened");
    let mut fixture = Fixture::silent();
    for (number, path) in [&fifo, &link, &device].into_iter().enumerate() {
        let id = fixture.output.open(&format!("w.{number}"), 1, Some(&rotated(path, LINE as u64, 3)), None);
        fixture.feed(id, &numbered(0..5));
    }
    fixture.flush();
    let mut got = vec![0; 10 * LINE];
    reader.read_exact(&mut got).expect("both");
    assert!(got == [numbered(0..5), numbered(0..5)].concat());
    assert_eq!(names(&scratch.0), ["device", "fifo", "link"], "no index either");
}

#[test]
fn the_standard_output_is_not_rotated_even_where_it_is_a_file() {
    let scratch = Scratch::new();
    let (path, link) = (scratch.path("stdout"), scratch.path("link"));
    let file = File::create(&path).expect("created");
    use std::os::fd::AsRawFd;
    std::os::unix::fs::symlink(format!("/proc/self/fd/{}", file.as_raw_fd()), &link).expect("linked");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&rotated(&link, LINE as u64, 3)), None);
    fixture.feed(id, &numbered(0..5));
    fixture.flush();
    assert_eq!((read(&path), names(&scratch.0)), (numbered(0..5), vec!["link".to_owned(), "stdout".to_owned()]));
}

#[test]
fn a_link_to_a_file_stays_and_the_file_is_rotated_where_it_is() {
    let scratch = Scratch::new();
    let (path, link) = (scratch.path("big/w.log"), scratch.path("link"));
    std::fs::create_dir(scratch.path("big")).expect("created");
    std::os::unix::fs::symlink("big/w.log", &link).expect("linked");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&rotated(&link, 2 * LINE as u64, 3)), None);
    fixture.feed(id, &numbered(0..5));
    fixture.flush();
    assert_eq!(segments(&path), [numbered(0..2), numbered(2..4), numbered(4..5)]);
    assert_eq!(names(&scratch.0), ["big", "link"]);
}

/// Something in the way stands for a directory that may not be written: it stops root as well.
#[test]
fn where_rotation_fails_the_file_grows_and_it_is_told_and_tried_again() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    std::fs::create_dir(beside(&path, 1)).expect("created");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&rotated(&path, 2 * LINE as u64, 1)), None);
    fixture.feed(id, &numbered(0..7));
    fixture.flush();
    assert!(read(&path) == numbered(0..7));
    let trouble = fixture.trouble();
    assert_eq!((trouble.problem, trouble.errno, trouble.dropped), (Problem::Rotation, libc::EISDIR, 0));
    std::fs::remove_dir(beside(&path, 1)).expect("removed");
    let mut next = 7;
    wait_until("rotation to work again", || {
        fixture.feed(id, &numbered(next..next + 1));
        fixture.flush();
        next += 1;
        beside(&path, 1).is_file()
    });
    let recovery = fixture.trouble();
    assert_eq!((recovery.problem, recovery.errno), (Problem::Rotation, 0));
    assert!(segments(&path).concat() == numbered(0..next), "nothing was lost");
    assert_eq!(fixture.stop().log_dropped, 0);
}

#[test]
fn what_nobody_wants_any_more_does_not_fail_either() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    std::fs::create_dir(beside(&path, 1)).expect("created");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&rotated(&path, LINE as u64, 1)), None);
    fixture.feed(id, &numbered(0..3));
    assert_eq!(fixture.trouble().problem, Problem::Rotation);
    fixture.output.configure(id, Some(&Log::at(&path)));
    let end = fixture.trouble();
    assert_eq!((end.problem, end.errno, fixture.output.troubles().len()), (Problem::Rotation, 0, 0));
}

#[test]
fn faults_34_a_directory_that_is_removed_with_all_in_it_is_made_again_by_the_rotation() {
    let scratch = Scratch::new();
    let folder = scratch.path("logs");
    let path = folder.join("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&rotated(&path, 10 * LINE as u64, 3)), None);
    fixture.feed(id, &numbered(0..10));
    fixture.flush();
    // At once: the next line finds the file full before anybody looks where it is.
    std::fs::remove_dir_all(&folder).expect("removed");
    fixture.feed(id, &numbered(10..15));
    fixture.flush();
    assert_eq!(segments(&path), [numbered(10..15)]);
    assert!(fixture.output.take_troubles().is_empty());
}

#[test]
fn faults_34_lines_written_after_their_file_was_deleted_are_in_the_next_one() {
    let scratch = Scratch::new();
    let path = scratch.path("logs/w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&Log::at(&path)), None);
    for number in 0..40 {
        fixture.feed(id, &numbered(number..number + 1));
        fixture.flush();
        assert_eq!(read(&path), numbered(number..number + 1), "no moment in which a line is lost");
        std::fs::remove_dir_all(scratch.path("logs")).expect("removed");
    }
    assert!(fixture.output.take_troubles().is_empty());
}
