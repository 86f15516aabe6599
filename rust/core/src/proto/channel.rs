//! A non-blocking stream of frames: the same on both ends of every conversation.

use super::frame::{encode, Decoder, FrameError};
use crate::state::{Fd, Inherited, Luggage};
use crate::sys;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other side has closed, or died.
    #[error("the connection is closed")]
    Closed,
    /// The other side sent what is no message.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One end of a connected stream socket, with what was received in part and what waits to be sent.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    decoder: Decoder,
    outgoing: Vec<u8>,
    sent: usize,
    closed: bool,
    waits_for_room: bool,
}

/// A conversation as an upgrade hands it on, in the middle of a frame if need be.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedChannel {
    socket: Fd,
    #[serde(with = "serde_bytes")]
    received: Vec<u8>,
    #[serde(with = "serde_bytes")]
    outgoing: Vec<u8>,
    sent: usize,
    closed: bool,
}

impl Channel {
    /// For an upgrade.
    pub fn save(&self, luggage: &mut Luggage) -> SavedChannel {
        // Whether somebody waits for room is found out by the next flush.
        let Channel { socket, decoder, outgoing, sent, closed, waits_for_room: _ } = self;
        SavedChannel {
            socket: luggage.pack(socket),
            received: decoder.rest().to_vec(),
            outgoing: outgoing.clone(),
            sent: *sent,
            closed: *closed,
        }
    }

    /// The inverse.
    pub fn restore(saved: SavedChannel, inherited: &Inherited) -> Channel {
        let mut decoder = Decoder::default();
        decoder.feed(&saved.received);
        let SavedChannel { socket, received: _, outgoing, sent, closed } = saved;
        let sent = sent.min(outgoing.len());
        Channel { socket: inherited.take(socket), decoder, outgoing, sent, closed, waits_for_room: false }
    }

    /// Takes over `socket` and makes it non-blocking.
    pub fn new(socket: OwnedFd) -> io::Result<Channel> {
        sys::set_nonblocking(socket.as_fd())?;
        Ok(Channel {
            socket,
            decoder: Decoder::default(),
            outgoing: Vec::new(),
            sent: 0,
            closed: false,
            waits_for_room: false,
        })
    }

    /// Queues a message; `flush` sends it.
    pub fn push<T: Serialize>(&mut self, message: &T) -> Result<(), FrameError> {
        encode(message, &mut self.outgoing)
    }

    /// Bytes queued and not yet taken by the socket.
    pub fn pending(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// Forgets every queued frame of which no byte was sent, so that the stream stays in step.
    pub fn discard_unsent(&mut self) {
        self.outgoing.truncate(self.begun());
    }

    /// Takes back every queued frame of which no byte was sent, so that the stream stays in step.
    pub fn take_unsent<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, FrameError> {
        let unsent = self.outgoing.split_off(self.begun());
        decode(&unsent)
    }

    /// Every queued frame that the other side cannot have had whole.
    pub fn undelivered<T: DeserializeOwned>(&self) -> Result<Vec<T>, FrameError> {
        decode(&self.outgoing[self.complete()..])
    }

    /// Bytes of the frames of which some were sent.
    fn begun(&self) -> usize {
        let whole = self.complete();
        if whole == self.sent {
            whole
        } else {
            self.next_frame(whole).map_or(self.outgoing.len(), |next| next.min(self.outgoing.len()))
        }
    }

    /// Bytes of the frames that were sent whole.
    fn complete(&self) -> usize {
        let mut whole = 0;
        while let Some(next) = self.next_frame(whole).filter(|&next| next <= self.sent) {
            whole = next;
        }
        whole
    }

    /// Where the frame after the one at `start` begins.
    fn next_frame(&self, start: usize) -> Option<usize> {
        let header = self.outgoing[start..].first_chunk::<4>()?;
        Some(start + 4 + u32::from_le_bytes(*header) as usize)
    }

    /// Sends what the socket takes; true when nothing is left.
    pub fn flush(&mut self) -> Result<bool, ChannelError> {
        while self.pending() > 0 {
            match sys::send(self.socket.as_fd(), &self.outgoing[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.compact();
                    return Ok(false);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                    return Err(ChannelError::Closed);
                }
                Err(e) => return Err(e.into()),
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        if self.outgoing.capacity() > 1 << 16 {
            self.outgoing = Vec::new();
        }
        Ok(true)
    }

    /// Drops whole frames already sent, once they are worth the copy.
    fn compact(&mut self) {
        if self.sent < 1 << 16 {
            return;
        }
        let whole = self.complete();
        self.outgoing.drain(..whole);
        self.sent -= whole;
    }

    /// Sends what the socket takes, and has `poller` tell when there is room for the rest.
    pub fn flush_with(&mut self, poller: &sys::Poller, token: u64) -> Result<bool, ChannelError> {
        let done = self.flush()?;
        if self.waits_for_room == done {
            let interest = if done { sys::Interest::Read } else { sys::Interest::Both };
            poller.modify(self.socket.as_fd(), token, interest)?;
            self.waits_for_room = !done;
        }
        Ok(done)
    }

    /// Reads what has arrived, at most `budget` bytes, so that one peer cannot starve the others.
    pub fn fill(&mut self, budget: usize) -> Result<(), ChannelError> {
        let mut buffer = [0u8; 1 << 14];
        let mut taken = 0;
        while taken < budget && !self.closed {
            match sys::recv(self.socket.as_fd(), &mut buffer) {
                Ok(0) => self.closed = true,
                Ok(n) => {
                    self.decoder.feed(&buffer[..n]);
                    taken += n;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => self.closed = true,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// The next message that has arrived; `Closed` once the stream has ended and all was handed out.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ChannelError> {
        match self.decoder.take()? {
            Some(message) => Ok(Some(message)),
            None if self.closed => Err(ChannelError::Closed),
            None => Ok(None),
        }
    }
}

/// Whole frames, as messages.
fn decode<T: DeserializeOwned>(frames: &[u8]) -> Result<Vec<T>, FrameError> {
    let mut decoder = Decoder::default();
    decoder.feed(frames);
    std::iter::from_fn(|| decoder.take().transpose()).collect()
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::Command;
    use super::*;

    fn pair() -> (Channel, Channel) {
        let (a, b) = sys::socket_pair().unwrap();
        (Channel::new(a).unwrap(), Channel::new(b).unwrap())
    }

    fn forget(n: u64) -> Command {
        Command::Forget { worker: "q.1".into(), generation: n }
    }

    fn receive(channel: &mut Channel) -> Vec<u64> {
        channel.fill(usize::MAX).unwrap();
        let mut seen = Vec::new();
        while let Ok(Some(Command::Forget { generation, .. })) = channel.receive() {
            seen.push(generation);
        }
        seen
    }

    #[test]
    fn a_slow_peer_gets_everything_in_order() {
        let (mut a, mut b) = pair();
        (0..100_000).for_each(|n| a.push(&forget(n)).unwrap());
        let mut seen = Vec::new();
        while !a.flush().unwrap() {
            seen.extend(receive(&mut b));
        }
        seen.extend(receive(&mut b));
        assert!(seen.into_iter().eq(0..100_000));
    }

    #[test]
    fn discarding_keeps_the_frame_that_is_half_sent() {
        let (mut a, mut b) = pair();
        (0..100_000).for_each(|n| a.push(&forget(n)).unwrap());
        assert!(!a.flush().unwrap());
        a.discard_unsent();
        a.push(&forget(u64::MAX)).unwrap();
        let mut seen = Vec::new();
        while !a.flush().unwrap() {
            seen.extend(receive(&mut b));
        }
        seen.extend(receive(&mut b));
        assert_eq!(seen.pop(), Some(u64::MAX));
        assert!(seen.len() < 100_000 && seen.iter().copied().eq(0..seen.len() as u64));
    }

    #[test]
    fn what_was_not_sent_whole_is_known_and_can_be_taken_back() {
        let of = |frames: Vec<Command>| -> Vec<u64> {
            let number = |frame| if let Command::Forget { generation, .. } = frame { generation } else { u64::MAX };
            frames.into_iter().map(number).collect()
        };
        let (mut a, mut b) = pair();
        (0..100_000).for_each(|n| a.push(&forget(n)).unwrap());
        assert!(!a.flush().unwrap());
        let had = receive(&mut b);
        assert_eq!(of(a.undelivered().unwrap()), Vec::from_iter(had.len() as u64..100_000));
        let back = of(a.take_unsent().unwrap());
        assert!(!back.is_empty() && a.flush().unwrap());
        assert_eq!([had, receive(&mut b), back].concat(), Vec::from_iter(0..100_000), "the one that was begun arrives");
        assert!(a.undelivered::<Command>().unwrap().is_empty() && a.take_unsent::<Command>().unwrap().is_empty());
    }

    #[test]
    fn what_arrived_before_the_end_is_handed_out_before_the_end() {
        let (mut a, mut b) = pair();
        a.push(&forget(1)).unwrap();
        assert!(a.flush().unwrap());
        drop(a);
        b.fill(usize::MAX).unwrap();
        assert_eq!(b.receive::<Command>().unwrap(), Some(forget(1)));
        assert!(matches!(b.receive::<Command>(), Err(ChannelError::Closed)));
    }
}
