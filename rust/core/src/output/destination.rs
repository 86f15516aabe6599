//! Where the console goes, and how to write there without ever waiting.
//!
//! Non-blocking is a property of the open file description, which procq shares with the shell that
//! started it: a terminal or pipe is therefore opened anew, never switched.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;

/// What a descriptor leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A terminal: drops what it cannot show in time, gets no controls but colours.
    Terminal,
    /// A pipe or FIFO: drops what is not read in time.
    Pipe,
    /// A socket: as a pipe.
    Socket,
    /// A regular file or a device like /dev/null: loses nothing while it takes data.
    File,
}

impl Kind {
    /// Looks at a descriptor. What cannot be looked at is taken for a pipe, which never makes anybody wait.
    pub fn of(fd: BorrowedFd<'_>) -> Kind {
        if rustix::termios::isatty(fd) {
            return Kind::Terminal;
        }
        match rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::RegularFile | FileType::CharacterDevice | FileType::BlockDevice) => Kind::File,
            Ok(FileType::Socket) => Kind::Socket,
            _ => Kind::Pipe,
        }
    }
}

/// How a write is kept from waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// The description is ours and non-blocking, or a file, where waiting for the disk is what a writer is for.
    Direct,
    Send,
    /// Ask first, then write no more than certainly fits.
    Cautious,
}

/// An open console.
#[derive(Debug)]
pub(super) struct Destination {
    fd: OwnedFd,
    manner: Manner,
}

impl Destination {
    pub fn new(fd: OwnedFd, kind: Kind) -> Self {
        match kind {
            Kind::File => Destination { fd, manner: Manner::Direct },
            Kind::Socket => Destination { fd, manner: Manner::Send },
            Kind::Terminal | Kind::Pipe => match reopen(fd.as_fd()) {
                Ok(own) => Destination { fd: own, manner: Manner::Direct },
                Err(_) => Destination { fd, manner: Manner::Cautious },
            },
        }
    }

    /// Writes what can be taken now; `EAGAIN` when that is nothing.
    pub fn write(&self, data: &[u8]) -> Result<usize, Errno> {
        loop {
            let result = match self.manner {
                Manner::Direct => rustix::io::write(&self.fd, data),
                Manner::Send => rustix::net::send(&self.fd, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
                Manner::Cautious => self.write_cautiously(data),
            };
            match result {
                Err(Errno::INTR) => {}
                Ok(0) => return Err(Errno::AGAIN),
                other => return other,
            }
        }
    }

    fn write_cautiously(&self, data: &[u8]) -> Result<usize, Errno> {
        // A descriptor that is ready takes at least this much at once (POSIX says so of pipes, Linux does it for terminals).
        const PIPE_BUF: usize = 512;
        let mut ready = [PollFd::new(&self.fd, PollFlags::OUT)];
        if poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? == 0 {
            return Err(Errno::AGAIN);
        }
        rustix::io::write(&self.fd, &data[..data.len().min(PIPE_BUF)])
    }
}

impl AsFd for Destination {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A description of our own for the same terminal or pipe. Linux: the magic links of /proc lead to the very object.
fn reopen(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}
