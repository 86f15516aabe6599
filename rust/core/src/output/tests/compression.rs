//! Compression of closed files.

use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

fn compressing(path: &Path, rotate: u64, keep: u32) -> Log {
    Log { compress: true, ..rotated(path, rotate, keep) }
}

fn gz(path: &Path, number: u32) -> PathBuf {
    beside(path, format!("{number}.gz"))
}

/// Nothing closed is plain, and nothing is under way.
fn is_settled(path: &Path) -> bool {
    let names = names(path.parent().expect("a directory"));
    names.iter().all(|name| name.ends_with(".gz") || name.ends_with(".idx") || name == "w.log")
}

/// A closed file that takes a while: all of it is nothing, which even the disk need not hold.
fn large(path: &Path, size: u64) {
    File::create(path).expect("created").set_len(size).expect("grown");
}

/// Bytes that no compressor makes fewer.
fn noise(lines: usize) -> Vec<u8> {
    let mut dice = Dice(5);
    (0..lines)
        .flat_map(|_| {
            (0..LINE).map(|at| if at == LINE - 1 { b'\n' } else { 11 + dice.roll(245) as u8 }).collect::<Vec<u8>>()
        })
        .collect()
}

#[test]
fn closed_files_are_compressed_and_keep_what_else_there_is_about_them() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&compressing(&path, 1_000, 3)), None);
    fixture.feed(id, &numbered(0..5));
    fixture.flush();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).expect("permitted");
    let before = std::fs::metadata(&path).expect("there");
    fixture.feed(id, &numbered(5..20));
    fixture.flush();
    let written = std::fs::metadata(&path).expect("there");
    fixture.feed(id, &numbered(20..21));
    fixture.flush();
    wait_until("it to be compressed", || is_settled(&path));
    let after = std::fs::metadata(gz(&path, 1)).expect("there");
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    assert_eq!((after.mtime(), after.mtime_nsec()), (written.mtime(), written.mtime_nsec()), "as old as its last line");
    fixture.feed(id, &numbered(21..100));
    fixture.flush();
    wait_until("all to be compressed", || is_settled(&path));
    let expected =
        ["", ".1.gz", ".1.idx", ".2.gz", ".2.idx", ".3.gz", ".3.idx", ".idx"].map(|end| format!("w.log{end}"));
    assert_eq!(names(&scratch.0), expected);
    assert!(segments(&path).concat() == numbered(20..100));
    assert!(fixture.output.take_troubles().is_empty());
}

#[test]
fn faults_35_nothing_is_lost_while_files_move_on_faster_than_they_are_compressed() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&compressing(&path, 10_000, 1_000)), None);
    let data = numbered(0..20_000);
    let mut dice = Dice(9);
    let mut rest = &data[..];
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at((dice.roll(30_000) + 1).min(rest.len()));
        fixture.feed(id, chunk);
        rest = after;
    }
    fixture.flush();
    wait_until("all to be compressed", || is_settled(&path));
    assert!(segments(&path).concat() == data, "in order, each once");
    assert_eq!(segments(&path).len(), data.len() / 10_000);
    assert_eq!(fixture.stop().logged, data.len() as u64);
}

#[test]
fn a_file_that_is_moved_on_while_it_is_compressed_is_found_again() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    large(&beside(&path, 1), 256 << 20);
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&compressing(&path, 2 * LINE as u64, 9)), None);
    wait_until("the work to begin", || beside(&path, "gz.tmp").exists());
    fixture.feed(id, &numbered(0..5));
    fixture.flush();
    assert!(beside(&path, 3).exists(), "it is not waited for");
    wait_until("all to be compressed", || is_settled(&path));
    assert_eq!(segments(&path)[1..], [numbered(0..2), numbered(2..4), numbered(4..5)]);
    assert_eq!(segments(&path)[0].len(), 256 << 20);
}

#[test]
fn a_file_that_is_removed_while_it_is_compressed_does_not_come_back() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    large(&beside(&path, 1), 256 << 20);
    let mut fixture = Fixture::silent();
    let _ = fixture.output.open("w.1", 1, Some(&compressing(&path, 1_000, 9)), None);
    wait_until("the work to begin", || beside(&path, "gz.tmp").exists());
    std::fs::remove_file(beside(&path, 1)).expect("removed");
    wait_until("the end of the work", || !beside(&path, "gz.tmp").exists());
    fixture.flush();
    assert_eq!(names(&scratch.0), ["w.log", "w.log.idx"].map(str::to_owned));
    assert!(fixture.output.take_troubles().is_empty());
}

#[test]
fn a_file_that_is_changed_while_it_is_compressed_is_compressed_as_it_is_then() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    large(&beside(&path, 1), 256 << 20);
    let mut fixture = Fixture::silent();
    let _ = fixture.output.open("w.1", 1, Some(&compressing(&path, 1_000, 9)), None);
    wait_until("the work to begin", || beside(&path, "gz.tmp").exists());
    File::options().write(true).open(beside(&path, 1)).expect("opened").set_len(7).expect("truncated");
    wait_until("it to be compressed", || is_settled(&path));
    assert_eq!(gunzip(&read(&gz(&path, 1))), [0; 7]);
    assert!(fixture.output.take_troubles().is_empty(), "which is no trouble");
}

#[test]
fn the_end_of_procq_does_not_wait_for_it_and_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    // Far more than can be done until then.
    large(&beside(&path, 1), 64 << 30);
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&compressing(&path, 1_000, 9)), None);
    wait_until("the work to begin", || beside(&path, "gz.tmp").exists());
    fixture.feed(id, &numbered(0..3));
    fixture.stop();
    assert_eq!(names(&scratch.0), ["w.log", "w.log.1", "w.log.idx"].map(str::to_owned));
    assert!(read(&path) == numbered(0..3));
}

#[test]
fn what_an_end_in_the_middle_has_left_is_put_right_at_the_next_start() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    std::fs::write(beside(&path, "gz.tmp"), b"half").expect("written");
    // The new file has its name, and the old one is still there.
    let (plain, saved) = (beside(&path, 1), scratch.path("saved"));
    std::fs::write(&plain, numbered(0..5)).expect("written");
    std::fs::hard_link(&plain, &saved).expect("linked");
    let mut fixture = Fixture::silent();
    let _ = fixture.output.open("w.1", 1, Some(&compressing(&path, 1_000, 9)), None);
    wait_until("it to be compressed", || !plain.exists());
    fixture.stop();
    std::fs::rename(&saved, &plain).expect("renamed");
    // This one is somebody else's.
    std::fs::write(beside(&path, 2), numbered(5..6)).expect("written");
    std::fs::write(gz(&path, 2), b"mine").expect("written");
    let mut fixture = Fixture::silent();
    let _ = fixture.output.open("w.1", 1, Some(&compressing(&path, 1_000, 9)), None);
    wait_until("it to be put right", || !plain.exists());
    fixture.stop();
    assert_eq!(names(&scratch.0), ["w.log", "w.log.1.gz", "w.log.2", "w.log.2.gz", "w.log.idx"].map(str::to_owned));
    assert_eq!((gunzip(&read(&gz(&path, 1))), read(&gz(&path, 2))), (numbered(0..5), b"mine".to_vec()));
}

#[test]
fn a_temporary_file_is_removed_even_when_nothing_is_compressed_any_more() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    std::fs::write(beside(&path, "gz.tmp"), b"half").expect("written");
    let mut fixture = Fixture::silent();
    let _ = fixture.output.open("w.1", 1, Some(&Log::at(&path)), None);
    wait_until("it to be removed", || !beside(&path, "gz.tmp").exists());
    fixture.stop();
}

#[test]
fn saying_so_later_compresses_what_there_is_and_saying_no_leaves_it() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&rotated(&path, 500, 9)), None);
    fixture.feed(id, &numbered(0..25));
    fixture.flush();
    assert!(beside(&path, 2).exists());
    fixture.output.configure(id, Some(&compressing(&path, 500, 9)));
    wait_until("them to be compressed", || is_settled(&path));
    fixture.output.configure(id, Some(&rotated(&path, 500, 9)));
    fixture.feed(id, &numbered(25..45));
    fixture.flush();
    let closed: Vec<String> = names(&scratch.0).into_iter().filter(|name| !name.ends_with("idx")).collect();
    assert_eq!(closed, ["w.log", "w.log.1", "w.log.2", "w.log.3.gz", "w.log.4.gz"].map(str::to_owned));
    assert!(segments(&path).concat() == numbered(0..45));
}

#[test]
fn a_crash_between_any_two_renames_costs_nothing_with_compressed_ones_either() {
    // What the third rotation with `keep: 3` leaves when it is cut off after so many renames.
    for renames in 0..=3 {
        let scratch = Scratch::new();
        let path = scratch.path("w.log");
        let mut fixture = Fixture::silent();
        let id = fixture.output.open("w.1", 1, Some(&compressing(&path, LINE as u64, 3)), None);
        fixture.feed(id, &numbered(0..3));
        fixture.flush();
        wait_until("them to be compressed", || is_settled(&path));
        fixture.stop();
        for (done, number) in [2, 1, 0].into_iter().enumerate().take(renames) {
            let (from, to) =
                if number == 0 { (path.clone(), beside(&path, 1)) } else { (gz(&path, number), gz(&path, number + 1)) };
            std::fs::rename(from, to).unwrap_or_else(|_| panic!("rename {done}"));
        }
        let mut fixture = Fixture::silent();
        let id = fixture.output.open("w.1", 1, Some(&compressing(&path, LINE as u64, 3)), None);
        fixture.feed(id, &numbered(3..4));
        fixture.flush();
        assert_eq!(segments(&path), [numbered(0..1), numbered(1..2), numbered(2..3), numbered(3..4)], "{renames}");
    }
}

#[test]
fn faults_34_a_disk_that_is_too_full_to_compress_keeps_the_file_and_it_is_told_and_tried_again() {
    let scratch = Scratch::new();
    if !small_disk(
        &scratch,
        "faults_34_a_disk_that_is_too_full_to_compress_keeps_the_file_and_it_is_told_and_tried_again",
    ) {
        return;
    }
    let (path, ballast) = (scratch.path("w.log"), scratch.path("ballast"));
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&compressing(&path, 300_000, 9)), None);
    std::fs::write(&ballast, vec![0; 500_000]).expect("written");
    let data = noise(6_100);
    fixture.feed(id, &data);
    let trouble = fixture.trouble();
    assert_eq!((trouble.problem, trouble.errno, &trouble.path), (Problem::Compression, libc::ENOSPC, &path));
    assert!(beside(&path, 1).exists() && !gz(&path, 1).exists());
    std::fs::remove_file(&ballast).expect("removed");
    let recovery = fixture.trouble();
    assert_eq!((recovery.problem, recovery.errno), (Problem::Compression, 0));
    wait_until("it to be compressed", || is_settled(&path));
    assert!(segments(&path).concat() == data);
    assert_eq!(fixture.stop().log_dropped, 0);
    rustix::mount::unmount(&scratch.0, rustix::mount::UnmountFlags::DETACH).expect("unmounted");
}

#[test]
fn faults_64_a_link_in_the_place_of_a_closed_file_is_left_alone() {
    let scratch = Scratch::new();
    let (path, victim) = (scratch.path("w.log"), scratch.path("victim"));
    std::fs::write(&victim, b"precious").expect("written");
    std::os::unix::fs::symlink(&victim, beside(&path, 1)).expect("linked");
    std::os::unix::fs::symlink(&victim, beside(&path, "gz.tmp")).expect("linked");
    std::fs::write(beside(&path, 2), numbered(0..1)).expect("written");
    let mut fixture = Fixture::silent();
    let _ = fixture.output.open("w.1", 1, Some(&compressing(&path, 1_000, 9)), None);
    wait_until("the other to be compressed", || !beside(&path, 2).exists());
    fixture.stop();
    assert_eq!(names(&scratch.0), ["victim", "w.log", "w.log.1", "w.log.2.gz", "w.log.idx"].map(str::to_owned));
    assert_eq!(read(&victim), b"precious");
}
