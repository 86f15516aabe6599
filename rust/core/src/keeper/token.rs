//! What a descriptor in the poller stands for, packed into the 64 bits that the kernel hands back.

use crate::proto::messages::Stream;

/// Who has news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// The sentinel: a forwarded signal, or its end.
    Sentinel,
    /// SIGCHLD.
    Children,
    /// The writer thread.
    Writer,
    /// The keeper's own listener.
    Listener,
    /// The control plane's conversation.
    Link,
    /// The control plane's exec.
    ControlStarting,
    /// The control plane's end.
    ControlEnded,
    /// The control plane's own output.
    ControlStream(Stream),
    /// A client of the listener.
    Client(u64),
    /// A worker's exec.
    Starting(u64),
    /// The end of a worker's leader.
    Ended(u64),
    /// A worker's output.
    Output(u64, Stream),
    /// A worker's notify socket.
    Notices(u64),
    /// The stream that a worker has inherited.
    Wire(u64),
    /// The end of a process that counts its own jobs, by pid.
    Speaker(u64),
    /// The trial of an upgrade: its end, its exec, its output.
    Trial,
    /// The end of an orphan that was reparented to us, by pid.
    Orphan(u64),
    /// The control group of a worker whose leader has ended.
    Group(u64),
}

const SHIFT: u32 = 56;

/// The largest number that a token can carry; generations above it are refused.
pub const LARGEST: u64 = (1 << SHIFT) - 1;

impl From<Token> for u64 {
    fn from(token: Token) -> u64 {
        let (kind, number) = match token {
            Token::Sentinel => (0, 0),
            Token::Children => (1, 0),
            Token::Writer => (2, 0),
            Token::Listener => (3, 0),
            Token::Link => (4, 0),
            Token::ControlStarting => (5, 0),
            Token::ControlEnded => (6, 0),
            Token::ControlStream(stream) => (7, stream as u64),
            Token::Client(n) => (8, n),
            Token::Starting(n) => (9, n),
            Token::Ended(n) => (10, n),
            Token::Output(n, Stream::Stdout) => (11, n),
            Token::Output(n, Stream::Stderr) => (12, n),
            Token::Orphan(n) => (13, n),
            Token::Group(n) => (14, n),
            Token::Notices(n) => (15, n),
            Token::Trial => (16, 0),
            Token::Wire(n) => (17, n),
            Token::Speaker(n) => (18, n),
        };
        debug_assert!(number <= LARGEST);
        kind << SHIFT | number
    }
}

impl Token {
    /// The inverse; `None` for what no token packs to.
    pub fn unpack(packed: u64) -> Option<Token> {
        let number = packed & LARGEST;
        Some(match packed >> SHIFT {
            0 => Token::Sentinel,
            1 => Token::Children,
            2 => Token::Writer,
            3 => Token::Listener,
            4 => Token::Link,
            5 => Token::ControlStarting,
            6 => Token::ControlEnded,
            7 if number == 0 => Token::ControlStream(Stream::Stdout),
            7 => Token::ControlStream(Stream::Stderr),
            8 => Token::Client(number),
            9 => Token::Starting(number),
            10 => Token::Ended(number),
            11 => Token::Output(number, Stream::Stdout),
            12 => Token::Output(number, Stream::Stderr),
            13 => Token::Orphan(number),
            14 => Token::Group(number),
            15 => Token::Notices(number),
            16 => Token::Trial,
            17 => Token::Wire(number),
            18 => Token::Speaker(number),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_and_unpacking_agree() {
        let streams = [Stream::Stdout, Stream::Stderr];
        let mut all = vec![Token::Sentinel, Token::Children, Token::Writer, Token::Listener, Token::Link];
        all.extend([Token::ControlStarting, Token::ControlEnded, Token::Trial]);
        all.extend(streams.map(Token::ControlStream));
        for n in [0, 1, LARGEST] {
            all.extend([Token::Client(n), Token::Starting(n), Token::Ended(n), Token::Orphan(n), Token::Group(n)]);
            all.extend([Token::Notices(n), Token::Wire(n), Token::Speaker(n)]);
            all.extend(streams.map(|stream| Token::Output(n, stream)));
        }
        let packed: std::collections::HashSet<u64> = all.iter().map(|token| u64::from(*token)).collect();
        assert_eq!(packed.len(), all.len());
        assert!(all.iter().all(|token| Token::unpack(u64::from(*token)) == Some(*token)));
        assert_eq!(Token::unpack(u64::MAX), None);
    }
}
