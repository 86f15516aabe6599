//! Another user's rights for a child: in the right order, verified, and without a way back.
//!
//! [`Change::to`] looks in the parent what there is to do; [`Change::make`] runs between clone and exec, under the rules of
//! [`super::entry`]. Raw system calls only, and not for speed: glibc's `setuid` has every thread of the process follow, and a child of
//! ours shares the memory in which glibc finds the keeper's threads.

use super::capabilities::Capabilities;
use super::raw;
use super::spawn::SpawnError;
use crate::proto::messages::{Identity, Stage};
use std::collections::BTreeSet;
use std::io;

// 32-bit x86 and ARM keep the plain numbers for calls with ids of 16 bits.
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
use libc::{SYS_getresgid, SYS_getresuid, SYS_setgroups, SYS_setresgid, SYS_setresuid};
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
use libc::{
    SYS_getresgid32 as SYS_getresgid, SYS_getresuid32 as SYS_getresuid, SYS_setgroups32 as SYS_setgroups,
    SYS_setresgid32 as SYS_setresgid, SYS_setresuid32 as SYS_setresuid,
};

/// An id that stays as it is.
const KEPT: usize = u32::MAX as usize;

/// What a child has to do to be who it should be. Points into the [`Identity`], which must live as long.
pub(super) struct Change {
    uid: u32,
    gid: u32,
    groups: *const u32,
    group_count: usize,
    needed: bool,
    alone: bool,
}

impl Change {
    /// Compares with who we are: an ordinary user may name himself.
    ///
    /// # Errors
    /// The child would be out of reach of our signals.
    pub fn to(user: &Identity) -> Result<Change, SpawnError> {
        let (uids, gids) = own_ids();
        let own: BTreeSet<u32> = rustix::process::getgroups()
            .unwrap_or_default()
            .into_iter()
            .map(|group| group.as_raw())
            // Lists differ in whether they name the primary group, which changes nobody's rights.
            .chain([user.gid])
            .collect();
        let asked: BTreeSet<u32> = user.groups.iter().copied().chain([user.gid]).collect();
        let is_another = uids != [user.uid; 3];
        let capabilities = Capabilities::own();
        // Who becomes another user is stopped by us later on.
        if is_another && !capabilities.may_signal_others() {
            return Err(SpawnError { stage: Stage::User, source: io::Error::from_raw_os_error(libc::EPERM) });
        }
        let needed = is_another || gids != [user.gid; 3] || own != asked;
        Ok(Change {
            uid: user.uid,
            gid: user.gid,
            groups: user.groups.as_ptr(),
            group_count: user.groups.len(),
            needed,
            alone: needed || (user.uid != 0 && capabilities.any()),
        })
    }

    /// Whether the child will have fewer rights than we have: then whoever may attach to it must not find our memory.
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// Becomes that user. In the child.
    pub unsafe fn make(&self) -> Result<(), (Stage, isize)> {
        let (uid, gid) = (self.uid as usize, self.gid as usize);
        // SAFETY: raw system calls with integers, and pointers to what lives on our stack or in the identity.
        unsafe {
            if self.needed {
                done(Stage::Groups, raw::call(SYS_setgroups, self.group_count, self.groups as usize, 0, 0))?;
                done(Stage::Groups, raw::call(SYS_setresgid, gid, gid, gid, 0))?;
                // With our saved id nobody of that user may attach yet.
                done(Stage::User, raw::call(SYS_setresuid, uid, uid, KEPT, 0))?;
            }
            if self.alone {
                // The system's default, but not everywhere: the user's other processes must not get at our copied memory. Only changes
                // of the ids above take this back.
                raw::call(libc::SYS_prctl, libc::PR_SET_DUMPABLE as usize, 0, 0, 0);
            }
            if self.needed {
                done(Stage::User, raw::call(SYS_setresuid, KEPT, KEPT, uid, 0))?;
            }
            let (mut uids, mut gids) = ([u32::MAX; 3], [u32::MAX; 3]);
            done(Stage::User, ask(SYS_getresuid, &mut uids))?;
            done(Stage::Groups, ask(SYS_getresgid, &mut gids))?;
            let arrived = |ids: [u32; 3], id: u32| ids[0] == id && ids[1] == id && ids[2] == id && id != u32::MAX;
            if !arrived(gids, self.gid) {
                return Err((Stage::Groups, libc::EPERM as isize));
            }
            if !arrived(uids, self.uid) {
                return Err((Stage::User, libc::EPERM as isize));
            }
            if self.uid != 0 {
                give_up()?;
            }
            Ok(())
        }
    }
}

/// No capability of any kind, and therefore no way back: tried, and it must fail.
unsafe fn give_up() -> Result<(), (Stage, isize)> {
    // SAFETY: as in `make`.
    unsafe {
        done(Stage::User, Capabilities::NONE.set())?;
        if raw::call(SYS_setresuid, 0, 0, 0, 0) >= 0 {
            return Err((Stage::User, libc::EPERM as isize));
        }
    }
    Ok(())
}

fn done(stage: Stage, result: isize) -> Result<(), (Stage, isize)> {
    if result < 0 {
        return Err((stage, -result));
    }
    Ok(())
}

unsafe fn ask(number: libc::c_long, ids: &mut [u32; 3]) -> isize {
    let first = ids.as_mut_ptr();
    // SAFETY: the kernel writes three numbers, for which there is room.
    unsafe { raw::call(number, first as usize, first.add(1) as usize, first.add(2) as usize, 0) }
}

fn own_ids() -> ([u32; 3], [u32; 3]) {
    let (mut uids, mut gids) = ([u32::MAX; 3], [u32::MAX; 3]);
    // SAFETY: as `ask` says.
    unsafe {
        ask(SYS_getresuid, &mut uids);
        ask(SYS_getresgid, &mut gids);
    }
    (uids, gids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_up_capabilities_alone_does_not_share_our_memory_either() {
        if crate::sys::own_uid() != 0 {
            eprintln!("SKIPPED who_gives_up_capabilities_alone_does_not_share_our_memory_either: only root has any");
            return;
        }
        // In a thread of its own, as an ordinary user who was left capabilities, and then none.
        let found = std::thread::spawn(|| {
            let groups: Vec<u32> = rustix::process::getgroups().unwrap().into_iter().map(|g| g.as_raw()).collect();
            let gid = rustix::process::getgid().as_raw();
            let itself = Identity { uid: 4711, gid, groups };
            let alone = || Change::to(&itself).map(|change| (change.needed, change.is_alone())).unwrap();
            // SAFETY: numbers; this thread alone.
            unsafe {
                libc::syscall(libc::SYS_prctl, libc::PR_SET_KEEPCAPS, 1, 0, 0, 0);
                libc::syscall(SYS_setresuid, 4711, 4711, 4711);
            }
            let with = alone();
            // SAFETY: as above.
            unsafe { Capabilities::NONE.set() };
            (with, alone())
        });
        assert_eq!(found.join().expect("no panic"), ((false, true), (false, false)));
    }
}
