//! Frames: a little-endian `u32` length, then that many bytes of MessagePack.

use serde::de::DeserializeOwned;
use serde::Serialize;

/// The largest body of a frame, in bytes.
pub const MAX_FRAME: usize = 1 << 20;

const HEADER: usize = 4;

/// Why a frame could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length in front says more than a frame may hold: garbage, or not our peer.
    #[error("a frame of {0} bytes is over the limit of {MAX_FRAME}")]
    TooLarge(usize),
    /// The body is not the message that was expected.
    #[error("not a message: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
    /// The message cannot be written as MessagePack.
    #[error("cannot encode: {0}")]
    Unencodable(#[from] rmp_serde::encode::Error),
}

/// Appends `message` to `out` as one frame; `out` is unchanged on an error.
pub fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let mut body = rmp_serde::Serializer::new(&mut *out).with_struct_map();
    let written = message.serialize(&mut body);
    let size = out.len() - start - HEADER;
    let failure = match written {
        Err(error) => Some(error.into()),
        Ok(()) if size > MAX_FRAME => Some(FrameError::TooLarge(size)),
        Ok(()) => None,
    };
    if let Some(failure) = failure {
        out.truncate(start);
        return Err(failure);
    }
    out[start..start + HEADER].copy_from_slice(&(size as u32).to_le_bytes());
    Ok(())
}

/// Cuts a byte stream into messages. Holds at most one incomplete frame besides what was fed.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Takes bytes as they came.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// What was fed and not taken yet.
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// The next whole message, or `None` until more bytes come. After an error the stream is of no use.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let rest = &self.buffer[self.start..];
        let Some((header, body)) = rest.split_first_chunk::<HEADER>() else {
            self.compact();
            return Ok(None);
        };
        let size = u32::from_le_bytes(*header) as usize;
        if size > MAX_FRAME {
            return Err(FrameError::TooLarge(size));
        }
        let Some(body) = body.get(..size) else {
            self.compact();
            return Ok(None);
        };
        let message = rmp_serde::from_slice(body)?;
        self.start += HEADER + size;
        Ok(Some(message))
    }

    fn compact(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > 1 << 16 {
            self.buffer = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::*;
    use super::*;
    use proptest::prelude::*;
    use serde_bytes::ByteBuf;

    fn bytes() -> impl Strategy<Value = ByteBuf> {
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(ByteBuf::from)
    }

    fn spawn() -> impl Strategy<Value = Command> {
        (".{0,20}", any::<u64>(), proptest::collection::vec(bytes(), 0..5), proptest::option::of(bytes())).prop_map(
            |(worker, generation, argv, directory)| {
                Command::Spawn(Spawn {
                    worker,
                    generation,
                    fingerprint: "f".into(),
                    env: argv.clone(),
                    argv,
                    directory,
                    ..Spawn::default()
                })
            },
        )
    }

    fn command() -> impl Strategy<Value = Command> {
        prop_oneof![
            spawn(),
            (any::<u32>(), any::<u32>()).prop_map(|(oldest, newest)| Command::Hello { oldest, newest }),
            (".{0,9}", any::<u64>(), any::<Option<i32>>(), any::<Option<u64>>())
                .prop_map(|(worker, generation, signal, grace)| Command::Stop { worker, generation, signal, grace }),
            (any::<u32>(), any::<u32>(), any::<u32>(), bytes()).prop_map(|(part, parts, crc, data)| Command::Blob {
                part,
                parts,
                crc,
                data
            }),
            Just(Command::Ready {}),
        ]
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_gives_the_same_messages(sent in proptest::collection::vec(command(), 0..8), cut in 1usize..64) {
            let mut stream = Vec::new();
            for message in &sent { encode(message, &mut stream).unwrap(); }
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for piece in stream.chunks(cut) {
                decoder.feed(piece);
                while let Some(message) = decoder.take::<Command>().unwrap() { got.push(message); }
            }
            prop_assert_eq!(got, sent);
        }

        #[test]
        fn garbage_never_panics(garbage in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let mut decoder = Decoder::default();
            decoder.feed(&garbage);
            while let Ok(Some(_)) = decoder.take::<Command>() {}
            let mut framed = (garbage.len() as u32).to_le_bytes().to_vec();
            framed.extend(&garbage);
            let mut decoder = Decoder::default();
            decoder.feed(&framed);
            let _ = decoder.take::<Event>();
        }

        #[test]
        fn a_flipped_byte_never_panics(message in command(), at in any::<prop::sample::Index>(), with in 1u8..) {
            let mut stream = Vec::new();
            encode(&message, &mut stream).unwrap();
            let at = at.index(stream.len());
            stream[at] ^= with;
            let mut decoder = Decoder::default();
            decoder.feed(&stream);
            while let Ok(Some(_)) = decoder.take::<Command>() {}
        }
    }

    #[derive(serde::Serialize)]
    struct Newer {
        t: &'static str,
        worker: &'static str,
        generation: u64,
        reason_of_a_later_version: &'static str,
    }

    #[test]
    fn fields_of_a_newer_peer_are_ignored_and_its_kinds_are_unknown() {
        let mut stream = Vec::new();
        let extra = Newer { t: "forget", worker: "a.1", generation: 3, reason_of_a_later_version: "x" };
        encode(&extra, &mut stream).unwrap();
        encode(&Newer { t: "teleport", ..extra }, &mut stream).unwrap();
        let mut decoder = Decoder::default();
        decoder.feed(&stream);
        assert_eq!(decoder.take().unwrap(), Some(Command::Forget { worker: "a.1".into(), generation: 3 }));
        assert_eq!(decoder.take().unwrap(), Some(Command::Unknown));
        assert_eq!(decoder.take::<Command>().unwrap(), None);
    }

    #[test]
    fn what_is_too_large_is_refused_on_both_ends() {
        let mut out = vec![1, 2, 3];
        let message = Command::Blob { part: 0, parts: 1, crc: 0, data: ByteBuf::from(vec![0; MAX_FRAME]) };
        assert!(matches!(encode(&message, &mut out), Err(FrameError::TooLarge(_))));
        assert_eq!(out, [1, 2, 3]);
        let mut decoder = Decoder::default();
        decoder.feed(&(MAX_FRAME as u32 + 1).to_le_bytes());
        assert!(matches!(decoder.take::<Command>(), Err(FrameError::TooLarge(_))));
    }
}
