//! Cuts a byte stream into blocks of whole lines without looking at every line.
//!
//! Every sink takes whole lines, so that neither two workers in one file, nor the two streams of one
//! worker, nor a gap can tear a line. The price is one backwards search for a newline a block.

use serde::{Deserialize, Serialize};

/// Longest piece, newline included. A longer line is cut after every `LINE_CAP` bytes, wherever reads ended.
pub const LINE_CAP: usize = 64 * 1024;

/// Capacity a framer keeps between lines; an idle worker holds no more than this a stream.
const KEEP: usize = 256;

/// Whole lines, or a part of a line that was too long or never ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The bytes as written, newlines included.
    pub data: &'a [u8],
    /// No newline at the end: the cap was reached or the stream ended.
    pub partial: bool,
}

/// Line framing of one stream. Holds at most `LINE_CAP` bytes, nothing between whole lines.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Framer {
    #[serde(with = "serde_bytes")]
    carry: Vec<u8>,
}

impl Framer {
    /// Takes what was read and emits what is complete.
    pub fn push(&mut self, chunk: &[u8], mut emit: impl FnMut(Piece<'_>)) {
        // Slices no longer than a line may be: a line within one slice then needs no measuring.
        for slice in chunk.chunks(LINE_CAP) {
            self.push_slice(slice, &mut emit);
        }
    }

    /// The stream has ended: emits its unterminated last line.
    pub fn finish(&mut self, mut emit: impl FnMut(Piece<'_>)) {
        let rest = std::mem::take(&mut self.carry);
        if !rest.is_empty() {
            emit(Piece { data: &rest, partial: true });
        }
    }

    /// Bytes of a line that is not complete yet.
    pub fn held(&self) -> usize {
        self.carry.len()
    }

    fn push_slice(&mut self, slice: &[u8], emit: &mut impl FnMut(Piece<'_>)) {
        let mut rest = slice;
        while !self.carry.is_empty() && !rest.is_empty() {
            let room = &rest[..rest.len().min(LINE_CAP - self.carry.len())];
            let newline = memchr::memchr(b'\n', room);
            let taken = newline.map_or(room.len(), |at| at + 1);
            self.carry.extend_from_slice(&rest[..taken]);
            rest = &rest[taken..];
            if newline.is_some() || self.carry.len() == LINE_CAP {
                self.emit_carry(newline.is_none(), emit);
            }
        }
        let whole = memchr::memrchr(b'\n', rest).map_or(0, |at| at + 1);
        if whole > 0 {
            emit(Piece { data: &rest[..whole], partial: false });
        }
        let open = &rest[whole..];
        if open.len() == LINE_CAP {
            emit(Piece { data: open, partial: true });
        } else {
            self.carry.extend_from_slice(open);
        }
    }

    fn emit_carry(&mut self, partial: bool, emit: &mut impl FnMut(Piece<'_>)) {
        emit(Piece { data: &self.carry, partial });
        if self.carry.capacity() > KEEP {
            self.carry = Vec::new();
        } else {
            self.carry.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let mut framer = Framer::default();
        let mut pieces = Vec::new();
        for chunk in chunks {
            framer.push(chunk, |piece| pieces.push((piece.data.to_vec(), piece.partial)));
        }
        framer.finish(|piece| pieces.push((piece.data.to_vec(), piece.partial)));
        pieces
    }

    /// What the cap means, byte by byte: the lines that any split has to give.
    fn lines(data: &[u8]) -> Vec<Vec<u8>> {
        data.split_inclusive(|&byte| byte == b'\n').flat_map(|line| line.chunks(LINE_CAP)).map(<[u8]>::to_vec).collect()
    }

    fn split_at(data: &[u8], mut cuts: Vec<usize>) -> Vec<&[u8]> {
        cuts.iter_mut().for_each(|cut| *cut %= data.len() + 1);
        cuts.sort_unstable();
        let ends = cuts.iter().copied().chain([data.len()]);
        let starts = [0].into_iter().chain(cuts.iter().copied());
        starts.zip(ends).map(|(start, end)| &data[start..end]).collect()
    }

    fn bytes_with_long_lines() -> impl Strategy<Value = Vec<u8>> {
        let run = (any::<u8>(), prop_oneof![1..200_usize, 60_000..70_000_usize]);
        let part = prop_oneof![
            4 => proptest::collection::vec(any::<u8>(), 0..300),
            1 => run.prop_map(|(byte, count)| vec![byte; count]),
            3 => Just(b"\n".to_vec()),
        ];
        proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_split_gives_the_same_lines(data in bytes_with_long_lines(), cuts in proptest::collection::vec(any::<usize>(), 0..20)) {
            let pieces = frame(&split_at(&data, cuts));
            let joined: Vec<u8> = pieces.iter().flat_map(|(data, _)| data.clone()).collect();
            prop_assert_eq!(&joined, &data);
            let found: Vec<Vec<u8>> = pieces.iter().flat_map(|(data, _)| data.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec)).collect();
            prop_assert!(found == lines(&data), "lines differ");
            for (data, partial) in &pieces {
                prop_assert!(!data.is_empty() && data.len() <= LINE_CAP);
                prop_assert_eq!(*partial, data.last() != Some(&b'\n'));
            }
        }
    }

    #[test]
    fn a_line_is_held_until_it_ends() {
        let mut framer = Framer::default();
        framer.push(b"to be ", |piece| panic!("emitted too early: {piece:?}"));
        assert_eq!(framer.held(), 6);
        let mut seen = Vec::new();
        framer.push(b"continued\nnext", |piece| seen.push(piece.data.to_vec()));
        assert_eq!(seen, [b"to be continued\n".to_vec()]);
        assert_eq!(framer.held(), 4);
    }

    #[test]
    fn a_line_of_exactly_the_cap_is_whole() {
        let mut line = vec![b'x'; LINE_CAP - 1];
        line.push(b'\n');
        assert_eq!(frame(&[&line]), [(line.clone(), false)]);
        line.insert(0, b'x');
        assert_eq!(frame(&[&line]), [(vec![b'x'; LINE_CAP], true), (b"\n".to_vec(), false)]);
    }

    #[test]
    fn long_lines_leave_no_memory_behind() {
        let mut framer = Framer::default();
        framer.push(&[b'x'; 50_000], |_| {});
        framer.push(b"\n", |_| {});
        assert!(framer.carry.capacity() <= KEEP);
    }
}
