//! Another user's rights for a child: in the right order, verified, and without a way back.
//!
//! [`Change::to`] looks in the parent what there is to do; [`Change::make`] runs between clone and exec, under the rules of
//! [`super::entry`]. Raw system calls only, and not for speed: glibc's `setuid` has every thread of the process follow, and a child of
//! ours shares the memory in which glibc finds the keeper's threads.

use super::raw;
use super::spawn::SpawnError;
use crate::proto::messages::{Identity, Stage};
use std::collections::BTreeSet;
use std::{io, ptr};

// 32-bit x86 and ARM keep the plain numbers for calls with ids of 16 bits.
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
use libc::{SYS_getresgid, SYS_getresuid, SYS_setgroups, SYS_setresgid, SYS_setresuid};
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
use libc::{
    SYS_getresgid32 as SYS_getresgid, SYS_getresuid32 as SYS_getresuid, SYS_setgroups32 as SYS_setgroups,
    SYS_setresgid32 as SYS_setresgid, SYS_setresuid32 as SYS_setresuid,
};

/// The newest version of the capability calls: two words of 32 bits each.
const CAPABILITY_VERSION: u32 = 0x2008_0522;
/// Signals to processes of other users.
const CAP_KILL: u32 = 5;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// What a child has to do to be who it should be. Points into the [`Identity`], which must live as long.
pub(super) struct Change {
    uid: u32,
    gid: u32,
    groups: *const u32,
    group_count: usize,
    needed: bool,
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
        if is_another && !may_signal_others() {
            return Err(SpawnError { stage: Stage::User, source: io::Error::from_raw_os_error(libc::EPERM) });
        }
        Ok(Change {
            uid: user.uid,
            gid: user.gid,
            groups: user.groups.as_ptr(),
            group_count: user.groups.len(),
            needed: is_another || gids != [user.gid; 3] || own != asked,
        })
    }

    /// Whether it differs from who we are.
    pub fn is_needed(&self) -> bool {
        self.needed
    }

    /// Becomes that user. In the child.
    pub unsafe fn make(&self) -> Result<(), (Stage, isize)> {
        let (uid, gid) = (self.uid as usize, self.gid as usize);
        // SAFETY: raw system calls with integers, and pointers to what lives on our stack or in the identity.
        unsafe {
            if self.needed {
                done(Stage::Groups, raw::call(SYS_setgroups, self.group_count, self.groups as usize, 0, 0))?;
                done(Stage::Groups, raw::call(SYS_setresgid, gid, gid, gid, 0))?;
                done(Stage::User, raw::call(SYS_setresuid, uid, uid, uid, 0))?;
                // The system's default, but not everywhere: the user's other processes must not get at our copied memory.
                raw::call(libc::SYS_prctl, libc::PR_SET_DUMPABLE as usize, 0, 0, 0);
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
    let header = Header { version: CAPABILITY_VERSION, pid: 0 };
    // Effective, permitted, inheritable; the ambient ones go with them.
    let none = [0u32; 6];
    // SAFETY: as in `make`.
    unsafe {
        let (header, none) = (ptr::from_ref(&header) as usize, none.as_ptr() as usize);
        done(Stage::User, raw::call(libc::SYS_capset, header, none, 0, 0))?;
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

/// Who becomes another user is stopped by us later on.
fn may_signal_others() -> bool {
    let mut header = Header { version: CAPABILITY_VERSION, pid: 0 };
    let mut sets = [0u32; 6];
    // SAFETY: the kernel fills two times three words, and may correct the version.
    let asked = unsafe { libc::syscall(libc::SYS_capget, ptr::from_mut(&mut header), sets.as_mut_ptr()) };
    asked == 0 && sets[0] & (1 << CAP_KILL) != 0
}
