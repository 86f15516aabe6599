//! The stream that `PROCQ_NOTIFY_FD` names: lines as on the notify socket from the worker, `PARK` and `RESUME` to it.
//!
//! Whoever holds the other end was given it by the worker, and speaks for it. It is there for languages without datagram sockets,
//! and because more fits into it than the ten datagrams that the kernel lets wait.

use crate::state::{Fd, Inherited, Luggage};
use crate::sys;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The number that the worker has its end under.
pub const NUMBER: u32 = 3;
/// Bytes of a line that is not complete.
const LONGEST_LINE: usize = sys::LONGEST_NOTICE;

/// The keeper's end.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    /// The beginning of a line.
    begun: Vec<u8>,
}

/// As an upgrade hands it on.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedWire {
    socket: Fd,
    #[serde(with = "serde_bytes", default)]
    begun: Vec<u8>,
}

/// Whole lines of one process.
pub struct Heard {
    pub lines: Vec<u8>,
    pub sender: Option<i32>,
    /// What came along; nothing is kept here.
    pub descriptors: Vec<OwnedFd>,
}

impl Wire {
    /// Both ends; the second one is the worker's.
    pub fn pair() -> io::Result<(Wire, OwnedFd)> {
        let (ours, theirs) = sys::socket_pair()?;
        sys::set_nonblocking(ours.as_fd())?;
        sys::hear_senders(ours.as_fd())?;
        Ok((Wire { socket: ours, begun: Vec::new() }, theirs))
    }

    pub fn save(&self, luggage: &mut Luggage) -> SavedWire {
        let Wire { socket, begun } = self;
        SavedWire { socket: luggage.pack(socket), begun: begun.clone() }
    }

    pub fn restore(saved: SavedWire, inherited: &Inherited) -> Wire {
        let SavedWire { socket, begun } = saved;
        Wire { socket: inherited.take(socket), begun }
    }

    /// What has come; `WouldBlock` when there is nothing, `UnexpectedEof` when nobody holds the other end any more.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        // At the end the kernel may name a sender all the same: nobody.
        let notice = sys::receive(self.socket.as_fd(), buffer)?.filter(|notice| !notice.text.is_empty());
        let Some(notice) = notice else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let mut lines = std::mem::take(&mut self.begun);
        lines.extend_from_slice(notice.text);
        let whole = memchr::memrchr(b'\n', &lines).map_or(0, |end| end + 1);
        self.begun = lines.split_off(whole);
        // Nobody has so much to say: what follows is told from nothing by its beginning.
        if self.begun.len() > LONGEST_LINE {
            self.begun.truncate(LONGEST_LINE);
        }
        Ok(Heard { lines, sender: notice.sender.map(|sender| sender.pid), descriptors: notice.descriptors })
    }

    /// Tells the worker, unless it has not read so much that there is no room.
    pub fn tell(&self, line: &str) {
        let _ = sys::send(self.socket.as_fd(), line.as_bytes());
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
