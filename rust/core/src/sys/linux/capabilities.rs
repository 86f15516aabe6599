//! Capabilities of the calling thread.

use super::raw;
use std::ptr;

/// The newest version of the calls: two words of 32 bits for each set.
const VERSION: u32 = 0x2008_0522;
/// Signals to processes of other users.
const KILL: u32 = 5;
/// What goes beyond a user's rights to files: chown, dac_override, dac_read_search, fowner, fsetid, linux_immutable, mknod,
/// mac_override. The kernel takes these from who ceases to be root as `setfsuid` has it.
const FILES: [u32; 2] = [0x1f | 1 << 9 | 1 << 27, 1];

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// Of each word (low, then high) effective, permitted and inheritable ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capabilities([u32; 6]);

impl Capabilities {
    /// None at all; the ambient ones go with them.
    pub const NONE: Capabilities = Capabilities([0; 6]);

    /// What this thread has.
    pub fn own() -> Capabilities {
        let mut header = Header { version: VERSION, pid: 0 };
        let mut sets = [0u32; 6];
        // SAFETY: the kernel fills two times three words, and may correct the version. It is always allowed.
        unsafe { libc::syscall(libc::SYS_capget, ptr::from_mut(&mut header), sets.as_mut_ptr()) };
        Capabilities(sets)
    }

    /// Makes them those of this thread; a negative result is the error number. May run between clone and exec.
    pub unsafe fn set(&self) -> isize {
        let header = Header { version: VERSION, pid: 0 };
        // SAFETY: the kernel reads the header and as many words.
        unsafe { raw::call(libc::SYS_capset, ptr::from_ref(&header) as usize, self.0.as_ptr() as usize, 0, 0) }
    }

    /// Whether others' processes can be signalled.
    pub fn may_signal_others(&self) -> bool {
        self.0[0] & (1 << KILL) != 0
    }

    /// Whether there are any.
    pub fn any(&self) -> bool {
        self.0[1] | self.0[4] != 0
    }

    /// Without those in force that go beyond a user's rights to files.
    pub fn without_files(mut self) -> Capabilities {
        self.0[0] &= !FILES[0];
        self.0[3] &= !FILES[1];
        self
    }
}
