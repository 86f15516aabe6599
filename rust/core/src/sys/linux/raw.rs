//! System calls without libc, for a child that shares our memory: no errno, no thread-local storage, no allocation, no locks.
//!
//! On architectures without assembly here, [`super::spawn`] forks with memory of its own, where libc's wrappers are harmless.

/// Runs in the child on its own stack; must never return.
pub type Entry = unsafe extern "C" fn(*mut u8) -> !;

#[cfg(target_arch = "x86_64")]
mod arch {
    use super::Entry;
    use core::arch::asm;

    /// A system call; a negative result is the error number.
    #[inline(always)]
    pub unsafe fn call(number: libc::c_long, a: usize, b: usize, c: usize, d: usize) -> isize {
        let result: isize;
        // SAFETY: the registers the kernel clobbers are declared; the arguments are the caller's business.
        unsafe {
            asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
                 lateout("rcx") _, lateout("r11") _, options(nostack));
        }
        result
    }

    /// A clone whose child starts in `entry(argument)` on the stack that `a`, `b` name. Returns in the parent only.
    pub unsafe fn clone_into(
        number: libc::c_long,
        a: usize,
        b: usize,
        c: usize,
        entry: Entry,
        argument: *mut u8,
    ) -> isize {
        let result: isize;
        // SAFETY: in the child the stack is empty and 16-byte aligned, as `call` needs; `entry` never returns.
        unsafe {
            asm!("syscall", "test rax, rax", "jnz 2f", "xor ebp, ebp", "mov rdi, r13", "call r12", "ud2", "2:",
                 inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") 0usize, in("r8") 0usize,
                 in("r12") entry, in("r13") argument, lateout("rcx") _, lateout("r11") _);
        }
        result
    }
}

#[cfg(target_arch = "aarch64")]
mod arch {
    use super::Entry;
    use core::arch::asm;

    /// A system call; a negative result is the error number.
    #[inline(always)]
    pub unsafe fn call(number: libc::c_long, a: usize, b: usize, c: usize, d: usize) -> isize {
        let result: isize;
        // SAFETY: the registers the kernel clobbers are declared; the arguments are the caller's business.
        unsafe {
            asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d, options(nostack));
        }
        result
    }

    /// A clone whose child starts in `entry(argument)` on the stack that `a`, `b` name. Returns in the parent only.
    pub unsafe fn clone_into(
        number: libc::c_long,
        a: usize,
        b: usize,
        c: usize,
        entry: Entry,
        argument: *mut u8,
    ) -> isize {
        let result: isize;
        // SAFETY: in the child the stack is empty and 16-byte aligned; `entry` never returns.
        unsafe {
            asm!("svc 0", "cbnz x0, 2f", "mov x29, xzr", "mov x0, {argument}", "blr {entry}", "brk 1", "2:",
                 entry = in(reg) entry, argument = in(reg) argument,
                 in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") 0usize, in("x4") 0usize,
                 lateout("x30") _);
        }
        result
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod arch {
    /// A system call; a negative result is the error number.
    pub unsafe fn call(number: libc::c_long, a: usize, b: usize, c: usize, d: usize) -> isize {
        // SAFETY: the arguments are the caller's business; only used by children with memory of their own.
        unsafe {
            match libc::syscall(number, a, b, c, d) {
                -1 => -(*libc::__errno_location() as isize),
                result => result as isize,
            }
        }
    }
}

pub use arch::*;
