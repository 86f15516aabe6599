//! Stacks for children that share our memory.

use std::{io, ptr};

/// A stack with a page below it that must not be touched.
pub(super) struct Stack {
    map: *mut libc::c_void,
    /// The lowest usable byte.
    pub base: *mut libc::c_void,
}

// SAFETY: plain memory with one owner.
unsafe impl Send for Stack {}

impl Stack {
    const GUARD: usize = 1 << 16;
    /// Usable bytes.
    pub const SIZE: usize = 1 << 16;

    pub fn new() -> io::Result<Stack> {
        // SAFETY: a fresh private mapping; the lower part is made inaccessible.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
            let map = libc::mmap(ptr::null_mut(), Self::GUARD + Self::SIZE, libc::PROT_NONE, flags, -1, 0);
            if map == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let stack = Stack { map, base: map.byte_add(Self::GUARD) };
            match libc::mprotect(stack.base, Self::SIZE, libc::PROT_READ | libc::PROT_WRITE) {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(stack),
            }
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: our own mapping; its child has exec'ed or ended.
        unsafe { libc::munmap(self.map, Self::GUARD + Self::SIZE) };
    }
}
