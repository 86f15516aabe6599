//! A process held by its pidfd: a signal or a wait through it can never meet a stranger who was given the same number.

use crate::state::{Fd, Inherited, Luggage};
use rustix::process::{self, Pid, PidfdFlags, WaitId, WaitIdOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    fn of(status: &process::WaitIdStatus) -> Option<Exit> {
        status.exit_status().map(Exit::Code).or(status.terminating_signal().map(Exit::Signal))
    }
}

/// A child of this process, or a descendant found by walking.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    pidfd: OwnedFd,
}

/// As an upgrade hands it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SavedChild {
    pid: i32,
    pidfd: Fd,
}

/// Whether this kernel takes PIDFD_SIGNAL_PROCESS_GROUP (6.9); learnt at the first refusal.
static GROUPS_BY_PIDFD: AtomicBool = AtomicBool::new(true);
const PIDFD_SIGNAL_PROCESS_GROUP: u32 = 1 << 2;

impl Child {
    pub(super) fn from_parts(pid: i32, pidfd: OwnedFd) -> Child {
        Child { pid, pidfd }
    }

    /// For an upgrade: it stays a child of this process, and its pidfd stays its own.
    pub fn save(&self, luggage: &mut Luggage) -> SavedChild {
        let Child { pid, pidfd } = self;
        SavedChild { pid: *pid, pidfd: luggage.pack(pidfd) }
    }

    /// The inverse.
    pub fn restore(saved: SavedChild, inherited: &Inherited) -> Child {
        Child { pid: saved.pid, pidfd: inherited.take(saved.pidfd) }
    }

    /// Takes hold of a process by number. The caller must then check that it is still the one that was meant.
    pub fn open(pid: i32) -> io::Result<Child> {
        let number = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Child { pid, pidfd: process::pidfd_open(number, PidfdFlags::empty())? })
    }

    /// The process id, for people.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal; false when the process has ended already, or is another user's and out of our reach.
    pub fn signal(&self, signal: i32) -> bool {
        self.send(signal, 0).is_ok()
    }

    /// Sends a signal to the process group this process leads. Where the kernel cannot do that through a pidfd, false: walk the tree instead.
    ///
    /// Only for a process that is known to have called setsid: until then the number names nobody's group.
    pub fn signal_group(&self, signal: i32) -> bool {
        if !GROUPS_BY_PIDFD.load(Ordering::Relaxed) {
            return false;
        }
        match self.send(signal, PIDFD_SIGNAL_PROCESS_GROUP) {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                GROUPS_BY_PIDFD.store(false, Ordering::Relaxed);
                false
            }
            sent => sent.is_ok(),
        }
    }

    fn send(&self, signal: i32, flags: u32) -> io::Result<()> {
        // SAFETY: integers and a null siginfo; the descriptor is open as long as `self`.
        let sent = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.pidfd.as_raw_fd(), signal, std::ptr::null::<u8>(), flags)
        };
        if sent == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Whether it has ended, without reaping it. True for a process of which nothing is known any more.
    pub fn has_ended(&self) -> bool {
        use rustix::event::{poll, PollFd, PollFlags, Timespec};
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|n| n > 0)
    }

    /// Reaps it if it has ended; it must be our child.
    pub fn reap(&self) -> io::Result<Option<Exit>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let Some(status) = process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options)? else { return Ok(None) };
        Ok(Exit::of(&status))
    }

    /// Waits until it has ended and reaps it; it must be our child.
    pub fn wait(&self) -> io::Result<Exit> {
        loop {
            match process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Err(rustix::io::Errno::INTR) | Ok(None) => {}
                Err(e) => return Err(e.into()),
                Ok(Some(status)) => {
                    if let Some(exit) = Exit::of(&status) {
                        return Ok(exit);
                    }
                }
            }
        }
    }

    /// Forgets what this kernel can do, as an older one would: for tests of the fallback.
    pub fn pretend_no_group_signals(yes: bool) {
        GROUPS_BY_PIDFD.store(!yes, Ordering::Relaxed);
    }

    /// Whether a process has this number: tests only, the product never acts on numbers.
    #[cfg(test)]
    pub fn exists(pid: i32) -> bool {
        process::test_kill_process(Pid::from_raw(pid).expect("a pid")).is_ok()
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
