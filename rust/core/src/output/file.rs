//! A log file, as the writer thread sees it: open, write, notice that it was moved away, try again.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Most that one system call writes: with many files, nobody waits long for his turn.
const STEP: usize = 256 * 1024;
/// How often the path is compared with the open file.
const IDENTITY_INTERVAL: Duration = Duration::from_millis(200);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(1);
/// A FIFO or device that is full is asked again soon, and is no trouble until it stalls.
const BUSY_RETRY: Duration = Duration::from_millis(10);

/// What one attempt gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Wrote(usize),
    Busy,
    Failed(Errno),
}

/// The writing end of one file.
#[derive(Debug)]
pub(super) struct LogFile {
    path: Arc<Path>,
    fd: Option<OwnedFd>,
    /// Device and inode of what is open.
    identity: (u64, u64),
    checked: Instant,
    pub buffer: Vec<u8>,
    pub written: usize,
    pub retry: Option<Instant>,
    pause: Duration,
}

impl LogFile {
    pub fn new(path: Arc<Path>, now: Instant) -> Self {
        LogFile {
            path,
            fd: None,
            identity: (0, 0),
            checked: now,
            buffer: Vec::new(),
            written: 0,
            retry: None,
            pause: FIRST_RETRY,
        }
    }

    /// Whether everything handed over has been written.
    pub fn is_done(&self) -> bool {
        self.written == self.buffer.len()
    }

    /// Writes the next step of the buffer; without one only sees to it that the file is open.
    pub fn write(&mut self, now: Instant) -> Outcome {
        self.retry = None;
        if now.saturating_duration_since(self.checked) >= IDENTITY_INTERVAL {
            self.checked = now;
            if self.was_replaced() {
                self.fd = None;
            }
        }
        let result = self.open_fd().and_then(|()| self.write_step());
        match result {
            Ok(length) => {
                self.written += length;
                self.pause = FIRST_RETRY;
                Outcome::Wrote(length)
            }
            Err(Errno::AGAIN) => {
                self.retry = Some(now + BUSY_RETRY);
                Outcome::Busy
            }
            Err(errno) => {
                self.retry = Some(now + self.pause);
                self.pause = (self.pause * 2).min(LAST_RETRY);
                // What the path leads to by then may be in a better state.
                self.fd = None;
                Outcome::Failed(errno)
            }
        }
    }

    fn write_step(&self) -> Result<usize, Errno> {
        let rest = &self.buffer[self.written..];
        let step = &rest[..rest.len().min(STEP)];
        match &self.fd {
            Some(fd) if !step.is_empty() => rustix::io::retry_on_intr(|| rustix::io::write(fd, step)),
            _ => Ok(0),
        }
    }

    fn open_fd(&mut self) -> Result<(), Errno> {
        if self.fd.is_some() {
            return Ok(());
        }
        let fd = match open(&self.path) {
            Err(Errno::NOENT) => {
                create_parent(&self.path)?;
                open(&self.path)?
            }
            other => other?,
        };
        let stat = rustix::fs::fstat(&fd)?;
        self.identity = (stat.st_dev, stat.st_ino);
        self.fd = Some(fd);
        Ok(())
    }

    /// Deleted, renamed, or another file has its name: what follows belongs into a new file of that name.
    fn was_replaced(&self) -> bool {
        self.fd.is_some()
            && !rustix::fs::stat(&*self.path).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.identity)
    }
}

/// Non-blocking for the sake of FIFOs without a reader; regular files do not care. Links are followed:
/// `/dev/stdout` and logs on another disk are what people link to, and it is their own file.
fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::from_raw_mode(0o640)))
}

fn create_parent(path: &Path) -> Result<(), Errno> {
    let Some(parent) = path.parent() else { return Err(Errno::NOENT) };
    std::fs::create_dir_all(parent).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
