//! epoll, level-triggered: what was not read now is reported again.

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::Timespec;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or the end.
    Read,
    /// Either way.
    Both,
    /// What is out of the ordinary alone: a control group that has become empty.
    Priority,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Interest::Read => EventFlags::IN,
            Interest::Both => EventFlags::IN | EventFlags::OUT,
            Interest::Priority => EventFlags::PRI,
        }
    }
}

/// One descriptor that has news.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// What it was registered under.
    pub token: u64,
    /// There is something to read, or the end, or an error.
    pub read: bool,
    /// There is room to write.
    pub write: bool,
}

/// Waits for many descriptors at once. Itself a descriptor, readable when one of them has news: it can stand in another loop.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    /// An empty one, closed on exec.
    pub fn new() -> io::Result<Poller> {
        Ok(Poller { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Starts watching `fd`; it must be removed before it is closed.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), interest.flags())?)
    }

    /// Changes what is waited for.
    pub fn modify(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(token), interest.flags())?)
    }

    /// Stops watching `fd`.
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Appends what has news to `ready`, waiting at most `timeout` nanoseconds (for ever without one). An interruption is no news.
    pub fn wait(&self, ready: &mut Vec<Ready>, timeout: Option<u64>) -> io::Result<()> {
        // More than 24 days would need a system call that older kernels lack. Waking once in an hour costs nothing.
        const LONGEST: u64 = 3_600_000_000_000;
        let timeout = timeout.map(|ns| ns.min(LONGEST));
        let timeout =
            timeout.map(|ns| Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as _ });
        let mut space = [MaybeUninit::uninit(); 256];
        match epoll::wait(&self.epoll, &mut space, timeout.as_ref()) {
            Ok((events, _)) => {
                ready.extend(events.iter().map(|event| {
                    let flags = event.flags;
                    Ready {
                        token: event.data.u64(),
                        read: flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR),
                        write: flags.intersects(EventFlags::OUT | EventFlags::ERR),
                    }
                }));
                Ok(())
            }
            Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
