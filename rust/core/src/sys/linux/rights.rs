//! Files with the rights of a worker's user: of the calling thread alone, for one piece of work.
//!
//! The kernel keeps user and groups a thread; only libc's wrappers change those of all threads. The file system's user id
//! decides about files and nothing else, so nobody of that user may signal or trace us meanwhile.

use super::capabilities::Capabilities;
use rustix::process::DumpableBehavior;
use std::io;

/// Whose rights.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Rights<'a> {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: &'a [u32],
}

#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
use libc::{SYS_setfsgid as SETFSGID, SYS_setfsuid as SETFSUID, SYS_setgroups as SETGROUPS};
// The plain names are those of sixteen bits there.
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
use libc::{SYS_setfsgid32 as SETFSGID, SYS_setfsuid32 as SETFSUID, SYS_setgroups32 as SETGROUPS};

/// Does some work on files with these rights, then goes back. Where there is no way back the process ends: no thread of ours
/// may go on as somebody else.
///
/// # Errors
/// We may not act for them; nothing was done.
pub fn with_rights<T>(rights: Rights<'_>, work: impl FnOnce() -> T) -> io::Result<T> {
    let groups = own_groups()?;
    let own = Rights { uid: file_id(SETFSUID), gid: file_id(SETFSGID), groups: &groups };
    // Ourselves, perhaps without the right to change groups: what we have is what a worker of this user gets.
    let is_itself = own.uid == rights.uid && own.uid != 0;
    // The kernel stops core dumps and tracing of who changes his ids; ours are the same again in a moment.
    let dumpable = rustix::process::dumpable_behavior();
    let capabilities = Capabilities::own();
    let assumed = if is_itself { Ok(()) } else { groups_are(rights.groups).and_then(|()| ids_are(&rights)) };
    let result = assumed.and_then(|()| no_more_than(rights)).map(|()| work());
    if ids_are(&own).is_err() || groups_are(own.groups).is_err() || are(capabilities).is_err() {
        std::process::abort();
    }
    if let Ok(DumpableBehavior::Dumpable) = dumpable {
        let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable);
    }
    result
}

fn own_groups() -> io::Result<Vec<u32>> {
    Ok(rustix::process::getgroups()?.into_iter().map(rustix::process::Gid::as_raw).collect())
}

fn groups_are(wanted: &[u32]) -> io::Result<()> {
    let sorted = |mut groups: Vec<u32>| {
        groups.sort_unstable();
        groups
    };
    if sorted(own_groups()?) == sorted(wanted.to_vec()) {
        return Ok(());
    }
    // SAFETY: the kernel reads as many numbers as we say there are. Not libc's wrapper, which would change all threads.
    match unsafe { libc::syscall(SETGROUPS, wanted.len(), wanted.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The group first: with the user goes the right to change it.
fn ids_are(wanted: &Rights<'_>) -> io::Result<()> {
    for (call, id) in [(SETFSGID, wanted.gid), (SETFSUID, wanted.uid)] {
        // SAFETY: takes a number. It tells no failure, so we ask.
        unsafe { libc::syscall(call, libc::c_long::from(id)) };
        if file_id(call) != id {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
    }
    Ok(())
}

/// The kernel does this where root ceases to be root, unless it was told not to; and not for somebody else who was given capabilities.
fn no_more_than(rights: Rights<'_>) -> io::Result<()> {
    if rights.uid == 0 {
        return Ok(());
    }
    are(Capabilities::own().without_files())
}

fn are(wanted: Capabilities) -> io::Result<()> {
    if Capabilities::own() == wanted {
        return Ok(());
    }
    // SAFETY: of this thread alone; all of them are on its stack.
    match unsafe { wanted.set() } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(-errno as i32)),
    }
}

/// The id that is in force: a number that nobody has changes nothing, and the former one is told.
fn file_id(call: libc::c_long) -> u32 {
    // SAFETY: takes a number.
    unsafe { libc::syscall(call, -1 as libc::c_long) as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn files_are_made_by_the_user_and_then_by_us_again() {
        if crate::sys::own_uid() != 0 {
            eprintln!("SKIPPED files_are_made_by_the_user_and_then_by_us_again: only root may act for others");
            return;
        }
        let directory = std::env::temp_dir().join(format!("procq-rights-{}", std::process::id()));
        std::fs::create_dir(&directory).expect("created");
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).expect("allowed");
        let secret = directory.join("secret");
        std::fs::write(&secret, "ours").expect("written");
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("forbidden");
        let before = own_groups().expect("groups");
        let rights = Rights { uid: 4711, gid: 4712, groups: &[4712, 4713] };
        let (made, read, groups) = with_rights(rights, || {
            (std::fs::write(directory.join("theirs"), "x"), std::fs::read(&secret), own_groups().expect("groups"))
        })
        .expect("root may");
        made.expect("everybody may write there");
        assert_eq!(read.expect_err("not theirs").kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(groups, [4712, 4713]);
        let theirs = std::fs::metadata(directory.join("theirs")).expect("there");
        assert_eq!((theirs.uid(), theirs.gid()), (4711, 4712));
        assert_eq!((file_id(SETFSUID), file_id(SETFSGID), own_groups().expect("groups")), (0, 0, before));
        assert!(std::fs::read(&secret).is_ok(), "ours again");
        std::fs::remove_dir_all(directory).expect("removed");
    }

    #[test]
    fn capabilities_of_who_is_not_root_open_no_file_for_a_user() {
        if crate::sys::own_uid() != 0 {
            eprintln!("SKIPPED capabilities_of_who_is_not_root_open_no_file_for_a_user: only root has any");
            return;
        }
        let secret = std::env::temp_dir().join(format!("procq-capabilities-{}", std::process::id()));
        std::fs::write(&secret, "ours").expect("written");
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("forbidden");
        let path = secret.clone();
        // As a service that is given capabilities instead of root, in a thread of its own.
        let found = std::thread::spawn(move || {
            let all = Capabilities::own();
            // SAFETY: numbers; this thread alone.
            unsafe {
                libc::syscall(libc::SYS_prctl, libc::PR_SET_KEEPCAPS, 1, 0, 0, 0);
                libc::syscall(libc::SYS_setresuid, 4711, 4711, 4711);
                assert_eq!(all.set(), 0);
            }
            let read = || std::fs::read(&path).is_ok();
            let as_user = |uid| with_rights(Rights { uid, gid: uid, groups: &[] }, read).expect("it has CAP_SETUID");
            (read(), as_user(4713), as_user(4711), Capabilities::own() == all)
        });
        let found = found.join().expect("no panic");
        std::fs::remove_file(secret).expect("removed");
        assert_eq!(found, (true, false, false, true));
    }

    #[test]
    fn nobody_but_root_may_act_for_others() {
        if crate::sys::own_uid() == 0 {
            // As somebody without rights, in a thread of its own: its user stays as it is.
            let denied = std::thread::spawn(|| {
                // SAFETY: a number each; this thread alone.
                unsafe { libc::syscall(libc::SYS_setresuid, 4711, 4711, 4711) };
                with_rights(Rights { uid: 0, gid: 0, groups: &[] }, || ()).is_err()
                    && with_rights(Rights { uid: 4711, gid: 4711, groups: &[4712] }, || ()).is_ok()
            });
            assert!(denied.join().expect("no panic"));
        } else {
            assert!(with_rights(Rights { uid: 0, gid: 0, groups: &[] }, || ()).is_err());
        }
    }
}
