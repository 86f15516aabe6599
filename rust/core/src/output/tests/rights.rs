use super::*;
use crate::proto::messages::Identity;
use std::os::unix::fs::{chown, symlink, MetadataExt, PermissionsExt};

const NOBODY: u32 = 47_110;
const ANOTHER: u32 = 47_120;

fn identity(id: u32) -> Identity {
    Identity { uid: id, gid: id + 1, groups: vec![id + 1, id + 2] }
}

fn is_root(test: &str) -> bool {
    let root = crate::sys::own_uid() == 0;
    if !root {
        eprintln!("SKIPPED {test}: only root may act for others");
    }
    root
}

/// A directory that belongs to the user.
fn home(scratch: &Scratch) -> PathBuf {
    let home = scratch.path("home");
    std::fs::create_dir(&home).expect("created");
    chown(&home, Some(NOBODY), Some(NOBODY + 1)).expect("given away");
    home
}

fn owner(path: &Path) -> (u32, u32) {
    let metadata = std::fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (metadata.uid(), metadata.gid())
}

/// Waits for the content of a file. The new user may have been tried, in vain, before the old one's file was out of the way.
fn arrives(path: &Path, content: &[u8]) {
    wait_until("the file", || std::fs::read(path).is_ok_and(|found| found == content));
}

#[test]
fn files_directories_and_indexes_belong_to_the_user() {
    if !is_root("files_directories_and_indexes_belong_to_the_user") {
        return;
    }
    let scratch = Scratch::new();
    let path = home(&scratch).join("logs/w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&rotated(&path, 2 * LINE as u64, 2)), Some(&identity(NOBODY)));
    fixture.feed(id, &numbered(0..9));
    fixture.flush();
    assert_eq!(segments(&path), [numbered(4..6), numbered(6..8), numbered(8..9)]);
    let made = [path.clone(), beside(&path, 1), beside(&path, 2), beside(&path, "idx"), beside(&path, "1.idx")];
    for path in made.iter().map(PathBuf::as_path).chain(path.parent()) {
        assert_eq!(owner(path), (NOBODY, NOBODY + 1), "{}", path.display());
    }
    fixture.output.configure(id, Some(&Log::at(&scratch.0.join("home/other.log"))));
    fixture.feed(id, b"still with his rights\n");
    fixture.flush();
    assert_eq!(owner(&scratch.0.join("home/other.log")), (NOBODY, NOBODY + 1));
}

#[test]
fn faults_64_a_planted_link_is_refused_and_nothing_behind_it_is_touched() {
    if !is_root("a_planted_link_is_refused_and_nothing_behind_it_is_touched") {
        return;
    }
    let scratch = Scratch::new();
    let (path, victim) = (home(&scratch).join("w.log"), scratch.path("victim"));
    std::fs::write(&victim, b"precious").expect("written");
    std::fs::set_permissions(&victim, std::fs::Permissions::from_mode(0o666)).expect("writable for all");
    symlink(&victim, &path).expect("linked");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&Log::at(&path)), Some(&identity(NOBODY)));
    fixture.feed(id, b"hello\n");
    assert_eq!(fixture.trouble().errno, libc::ELOOP);
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(fixture.trouble().errno, 0);
    fixture.flush();
    assert_eq!((read(&path), read(&victim)), (b"hello\n".to_vec(), b"precious".to_vec()));
    // And while it runs.
    std::fs::remove_file(&path).expect("removed");
    symlink(&victim, &path).expect("linked");
    let mut trouble = None;
    wait_until("the link to be refused", || {
        fixture.feed(id, b"more\n");
        trouble = fixture.output.take_troubles().pop();
        trouble.is_some()
    });
    assert_eq!(trouble.map(|trouble| trouble.errno), Some(libc::ELOOP));
    assert_eq!(read(&victim), b"precious");
}

#[test]
fn what_the_user_may_not_write_procq_does_not_write_for_him() {
    if !is_root("what_the_user_may_not_write_procq_does_not_write_for_him") {
        return;
    }
    let scratch = Scratch::new();
    std::fs::write(scratch.path("theirs"), b"").expect("written");
    std::fs::set_permissions(scratch.path("theirs"), std::fs::Permissions::from_mode(0o600)).expect("forbidden");
    let mut fixture = Fixture::silent();
    for (number, name) in ["theirs", "new", "directory/new"].into_iter().enumerate() {
        let log = Log::at(&scratch.path(name));
        let id = fixture.output.open(&format!("w.{number}"), 1, Some(&log), Some(&identity(NOBODY)));
        fixture.feed(id, b"hello\n");
        assert_eq!(fixture.trouble().errno, libc::EACCES, "{name}");
    }
    assert_eq!((read(&scratch.path("theirs")), scratch.path("new").exists()), (Vec::new(), false));
    // Others of ours are none the worse for it.
    let id = fixture.output.open("ours.1", 1, Some(&Log::at(&scratch.path("ours"))), None);
    fixture.feed(id, b"ours\n");
    fixture.flush();
    assert_eq!(owner(&scratch.path("ours")), (0, 0));
}

#[test]
fn of_two_users_of_a_file_the_first_one_s_rights_stand_until_he_has_left() {
    if !is_root("of_two_users_of_a_file_the_first_one_s_rights_stand_until_he_has_left") {
        return;
    }
    let scratch = Scratch::new();
    let home = home(&scratch);
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o777)).expect("writable for all");
    let path = home.join("w.log");
    let log = rotated(&path, LINE as u64, 9);
    let mut fixture = Fixture::silent();
    let first = fixture.output.open("a.1", 1, Some(&log), Some(&identity(NOBODY)));
    fixture.feed(first, &numbered(0..1));
    let second = fixture.output.open("b.1", 2, Some(&log), Some(&identity(ANOTHER)));
    let notice = fixture.trouble();
    assert_eq!((notice.problem, notice.worker.as_str()), (Problem::Rights, "b.1"));
    fixture.feed(second, &numbered(1..2));
    fixture.flush();
    assert_eq!((owner(&path), owner(&beside(&path, 1))), ((NOBODY, NOBODY + 1), (NOBODY, NOBODY + 1)));
    fixture.output.close(first);
    fixture.output.close(second);
    std::fs::remove_file(&path).expect("removed");
    let third = fixture.output.open("b.1", 3, Some(&log), Some(&identity(ANOTHER)));
    fixture.feed(third, &numbered(2..3));
    arrives(&path, &numbered(2..3));
    assert_eq!(owner(&path), (ANOTHER, ANOTHER + 1));
}

#[test]
fn what_one_user_may_not_write_the_next_one_writes() {
    if !is_root("what_one_user_may_not_write_the_next_one_writes") {
        return;
    }
    let scratch = Scratch::new();
    let path = home(&scratch).join("w.log");
    let mut fixture = Fixture::silent();
    let first = fixture.output.open("w.1", 1, Some(&Log::at(&path)), Some(&identity(ANOTHER)));
    fixture.feed(first, &numbered(0..1));
    assert_eq!(fixture.trouble().errno, libc::EACCES);
    fixture.output.close(first);
    let second = fixture.output.open("w.1", 2, Some(&Log::at(&path)), Some(&identity(NOBODY)));
    assert_eq!(fixture.trouble().errno, 0);
    fixture.feed(second, &numbered(1..2));
    fixture.flush();
    assert_eq!((read(&path), owner(&path)), (numbered(0..2), (NOBODY, NOBODY + 1)));
}

#[test]
fn rights_follow_when_the_last_one_who_had_others_leaves_as_in_a_roll_out() {
    if !is_root("rights_follow_when_the_last_one_who_had_others_leaves_as_in_a_roll_out") {
        return;
    }
    let scratch = Scratch::new();
    let path = home(&scratch).join("w.log");
    let log = rotated(&path, LINE as u64, 9);
    let mut fixture = Fixture::silent();
    let _ = fixture.output.open("w.1", 1, Some(&log), None);
    let _ = fixture.output.open("w.2", 2, Some(&log), None);
    // One after the other gets a user: somebody always writes here.
    let first = fixture.output.open("w.1", 3, Some(&log), Some(&identity(NOBODY)));
    fixture.feed(first, &numbered(0..1));
    fixture.flush();
    assert_eq!(owner(&path), (0, 0));
    let second = fixture.output.open("w.2", 4, Some(&log), Some(&identity(NOBODY)));
    std::fs::rename(&path, beside(&path, "old")).expect("renamed");
    fixture.feed(second, &numbered(1..2));
    arrives(&path, &numbered(1..2));
    assert_eq!(owner(&path), (NOBODY, NOBODY + 1));
}

#[test]
fn compressed_files_belong_to_the_user_and_what_he_may_not_read_is_left_alone() {
    if !is_root("compressed_files_belong_to_the_user_and_what_he_may_not_read_is_left_alone") {
        return;
    }
    let scratch = Scratch::new();
    let (path, victim) = (home(&scratch).join("w.log"), scratch.path("victim"));
    std::fs::write(&victim, b"precious").expect("written");
    std::fs::set_permissions(&victim, std::fs::Permissions::from_mode(0o600)).expect("forbidden");
    std::fs::hard_link(&victim, beside(&path, 1)).expect("linked");
    let mut fixture = Fixture::silent();
    let log = Log { compress: true, ..rotated(&path, LINE as u64, 9) };
    let id = fixture.output.open("w.1", 1, Some(&log), Some(&identity(NOBODY)));
    fixture.feed(id, &numbered(0..4));
    fixture.flush();
    let gz = |number| beside(&path, format!("{number}.gz"));
    wait_until("all of his to be compressed", || {
        (1..4).all(|number| gz(number).exists() && !beside(&path, number).exists())
    });
    assert_eq!((1..4).map(|number| owner(&gz(number))).collect::<Vec<_>>(), [(NOBODY, NOBODY + 1); 3]);
    assert_eq!((read(&beside(&path, 4)), gz(4).exists()), (b"precious".to_vec(), false));
    assert!(fixture.output.take_troubles().is_empty());
}

#[test]
fn faults_34_what_may_not_be_removed_is_told_for_as_long_as_it_is_too_much() {
    if !is_root("faults_34_what_may_not_be_removed_is_told_for_as_long_as_it_is_too_much") {
        return;
    }
    let scratch = Scratch::new();
    let path = home(&scratch).join("w.log");
    std::fs::write(&path, b"").expect("written");
    chown(&path, Some(NOBODY), Some(NOBODY + 1)).expect("given away");
    std::fs::write(beside(&path, 1), numbered(0..100)).expect("written");
    chown(scratch.path("home"), Some(0), Some(0)).expect("taken back");
    let mut fixture = Fixture::silent();
    let log = Log { total: Some(3_000), ..rotated(&path, 1_000, 9) };
    let id = fixture.output.open("w.1", 1, Some(&log), Some(&identity(NOBODY)));
    let trouble = fixture.trouble();
    assert_eq!((trouble.problem, trouble.errno, &trouble.path), (Problem::Removal, libc::EACCES, &path));
    assert_eq!(fixture.output.troubles(), [trouble]);
    chown(scratch.path("home"), Some(NOBODY), Some(NOBODY + 1)).expect("given back");
    wait_until("it to be removed", || {
        fixture.feed(id, b"x\n");
        fixture.flush();
        fixture.output.troubles().is_empty()
    });
    let recovery = fixture.trouble();
    assert_eq!((recovery.problem, recovery.errno), (Problem::Removal, 0));
    let lines = numbered(0..1);
    assert!(!segments(&path).iter().any(|content| content.starts_with(&lines)));
}
