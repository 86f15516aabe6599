//! Signals as data: blocked everywhere, read from a descriptor.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// Blocks every signal in this thread and those it will start. Nothing may interrupt a keeper.
pub fn block_all() {
    // SAFETY: the set is initialised by sigfillset before it is used.
    unsafe {
        let mut set = MaybeUninit::uninit();
        libc::sigfillset(set.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
    }
}

/// Undoes what Python or a parent ignores (SIGPIPE, SIGXFSZ, SIGINT …): exec would pass it on to workers.
pub fn reset_dispositions() {
    const KERNEL_SIGNALS: i32 = 64;
    // Handler, flags, restorer, mask: all zero is SIG_DFL. The raw call, because libc hides the two signals it uses itself.
    let default = [0u64; 4];
    for signal in 1..=KERNEL_SIGNALS {
        // SAFETY: installs the default action; fails harmlessly for those that cannot be changed.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null::<u64>(), size_of::<u64>())
        };
    }
}

/// Stops this process as ^Z would.
pub fn stop_self() {
    // SAFETY: sends a signal to ourselves.
    unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
}

/// Waits until a child has ended, at most so many nanoseconds. SIGCHLD must be blocked. Needs no descriptor.
pub fn wait_for_child(nanoseconds: u32) {
    let patience = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds.min(999_999_999) as _ };
    // SAFETY: the set is initialised by sigemptyset; no information is asked for.
    unsafe {
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        libc::sigtimedwait(set.as_ptr(), std::ptr::null_mut(), &patience);
    }
}

/// A descriptor that turns readable when one of a set of (blocked) signals is pending.
#[derive(Debug)]
pub struct SignalSource {
    fd: OwnedFd,
}

impl SignalSource {
    /// Listens to `signals`, which must be blocked.
    pub fn new(signals: &[i32]) -> io::Result<SignalSource> {
        // SAFETY: the set is initialised by sigemptyset; a returned descriptor is ours.
        unsafe {
            let mut set = MaybeUninit::uninit();
            libc::sigemptyset(set.as_mut_ptr());
            signals.iter().for_each(|signal| {
                libc::sigaddset(set.as_mut_ptr(), *signal);
            });
            match libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(SignalSource { fd: OwnedFd::from_raw_fd(fd) }),
            }
        }
    }

    /// The next pending signal's number.
    pub fn next(&self) -> Option<i32> {
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        let n = rustix::io::read(&self.fd, &mut info).ok()?;
        (n == info.len()).then(|| i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
    }
}

impl AsFd for SignalSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
