//! The last output of one worker: records of whole lines in a circular buffer.
//!
//! A record is a header of 12 bytes (time, then length and flags) and its bytes. What has to make room
//! goes line by line from the oldest record, so a short line never throws out a long block.

use serde::{Deserialize, Serialize};

use super::framer::Piece;
use crate::proto::messages::Stream;

/// Capacity of a ring that has just got its first bytes.
pub const RING_MIN: usize = 4 * 1024;
/// Most that a ring holds, headers included.
pub const RING_MAX: usize = 64 * 1024;

const HEADER: usize = 12;
const STDERR: u32 = 1 << 31;
const PARTIAL: u32 = 1 << 30;
const LENGTH: u32 = PARTIAL - 1;

/// One record of a ring, by place; valid until the ring is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    at: usize,
    /// Bytes of output.
    pub length: usize,
    /// Nanoseconds since the epoch at which it was read.
    pub time: u64,
    /// Where the worker wrote it.
    pub stream: Stream,
    /// It does not end with a newline.
    pub partial: bool,
}

/// Circular buffer of records; allocates nothing until something is written.
#[derive(Debug, Default)]
pub struct Ring {
    buffer: Box<[u8]>,
    head: usize,
    used: usize,
}

/// One record by itself, as an upgrade hands it on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRecord {
    pub(super) stream: Stream,
    pub(super) time: u64,
    pub(super) partial: bool,
    #[serde(with = "serde_bytes")]
    pub(super) data: Vec<u8>,
}

impl Ring {
    /// What is held, oldest first.
    pub fn save(&self) -> Vec<SavedRecord> {
        let save = |record: Record| {
            let mut data = Vec::with_capacity(record.length);
            self.copy(record, &mut data);
            let Record { at: _, length: _, time, stream, partial } = record;
            SavedRecord { stream, time, partial, data }
        };
        self.records().into_iter().map(save).collect()
    }

    /// Bytes allocated.
    pub fn capacity(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes of output and headers held.
    pub fn used(&self) -> usize {
        self.used
    }

    /// The capacity that would keep everything when this many bytes of output come.
    pub fn wanted(&self, length: usize) -> usize {
        let need = (self.used + HEADER + length).clamp(RING_MIN, RING_MAX);
        need.next_power_of_two().max(self.capacity())
    }

    /// Changes the capacity; when it becomes smaller the oldest lines go. Zero frees everything.
    pub fn resize(&mut self, capacity: usize) {
        if self.used > capacity {
            self.evict(self.used - capacity);
        }
        let mut buffer = vec![0; capacity].into_boxed_slice();
        let (first, second) = self.slices(self.head, self.used);
        buffer[..first.len()].copy_from_slice(first);
        buffer[first.len()..first.len() + second.len()].copy_from_slice(second);
        self.buffer = buffer;
        self.head = 0;
    }

    /// Forgets what is held, keeps the memory.
    pub fn clear(&mut self) {
        (self.head, self.used) = (0, 0);
    }

    /// Adds a piece within the present capacity; the oldest lines make room.
    pub fn push(&mut self, stream: Stream, time: u64, piece: Piece<'_>) {
        if self.capacity() < HEADER {
            return;
        }
        let data = last_lines(piece.data, self.capacity() - HEADER);
        if data.is_empty() {
            return;
        }
        if data.len() < piece.data.len() {
            // What is held ends before the lines that were cut off: a tail has no holes.
            self.clear();
        }
        let need = HEADER + data.len();
        let free = self.capacity() - self.used;
        if need > free {
            self.evict(need - free);
        }
        let flags = if stream == Stream::Stderr { STDERR } else { 0 } | if piece.partial { PARTIAL } else { 0 };
        let length = u32::try_from(data.len()).expect("a ring is smaller than 2^30") | flags;
        self.write(self.used, &header(time, length));
        self.write(self.used + HEADER, data);
        self.used += need;
    }

    /// The last `lines` lines, oldest first. A piece of an overlong line counts as a line.
    pub fn tail(&self, lines: usize) -> Vec<Record> {
        let all = self.records();
        let mut missing = lines;
        let mut tail = Vec::new();
        for record in all.into_iter().rev() {
            if missing == 0 {
                break;
            }
            let cut = self.cut_to_lines(record, &mut missing);
            tail.push(cut);
        }
        tail.reverse();
        tail
    }

    /// Appends a record's bytes.
    pub fn copy(&self, record: Record, out: &mut Vec<u8>) {
        let (first, second) = self.slices(record.at, record.length);
        out.extend_from_slice(first);
        out.extend_from_slice(second);
    }

    fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let mut offset = 0;
        while offset < self.used {
            let record = self.record_at(offset);
            offset += HEADER + record.length;
            records.push(record);
        }
        records
    }

    fn record_at(&self, offset: usize) -> Record {
        let mut bytes = [0; HEADER];
        let (first, second) = self.slices(self.wrap(self.head + offset), HEADER);
        bytes[..first.len()].copy_from_slice(first);
        bytes[first.len()..].copy_from_slice(second);
        let (time, length) = bytes.split_at(8);
        let time = u64::from_ne_bytes(time.try_into().expect("eight bytes"));
        let length = u32::from_ne_bytes(length.try_into().expect("four bytes"));
        Record {
            at: self.wrap(self.head + offset + HEADER),
            length: (length & LENGTH) as usize,
            time,
            stream: if length & STDERR == 0 { Stream::Stdout } else { Stream::Stderr },
            partial: length & PARTIAL != 0,
        }
    }

    fn cut_to_lines(&self, record: Record, missing: &mut usize) -> Record {
        let (first, second) = self.slices(record.at, record.length);
        // The newline that ends the record ends its last line; those before it separate lines.
        let ends = memchr::memchr_iter(b'\n', second)
            .rev()
            .map(|at| first.len() + at)
            .chain(memchr::memchr_iter(b'\n', first).rev());
        let mut separators = ends.filter(|&at| at + 1 < record.length);
        for _ in 0..*missing {
            *missing -= 1;
            let Some(separator) = separators.next() else { return record };
            if *missing == 0 {
                let skip = separator + 1;
                return Record { at: self.wrap(record.at + skip), length: record.length - skip, ..record };
            }
        }
        record
    }

    /// Frees at least `need` bytes: whole records, then the first lines of the oldest one left.
    fn evict(&mut self, need: usize) {
        let mut freed = 0;
        while freed < need && freed < self.used {
            let record = self.record_at(freed);
            let size = HEADER + record.length;
            if freed + size <= need {
                freed += size;
                continue;
            }
            let (first, second) = self.slices(record.at, record.length);
            let enough = need - freed;
            match newline_from(first, second, enough - 1) {
                Some(newline) if newline + 1 < record.length => {
                    freed += newline + 1;
                    let flags = if record.stream == Stream::Stderr { STDERR } else { 0 };
                    let length =
                        (record.length - newline - 1) as u32 | flags | if record.partial { PARTIAL } else { 0 };
                    self.write(freed, &header(record.time, length));
                }
                _ => freed += size,
            }
            break;
        }
        self.head = self.wrap(self.head + freed);
        self.used -= freed;
    }

    fn wrap(&self, at: usize) -> usize {
        if at >= self.capacity() {
            at - self.capacity()
        } else {
            at
        }
    }

    fn slices(&self, at: usize, length: usize) -> (&[u8], &[u8]) {
        let first = length.min(self.capacity() - at.min(self.capacity()));
        (&self.buffer[at..at + first], &self.buffer[..length - first])
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        let at = self.wrap(self.head + offset);
        let first = data.len().min(self.capacity() - at);
        self.buffer[at..at + first].copy_from_slice(&data[..first]);
        self.buffer[..data.len() - first].copy_from_slice(&data[first..]);
    }
}

fn header(time: u64, length: u32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&time.to_ne_bytes());
    bytes[8..].copy_from_slice(&length.to_ne_bytes());
    bytes
}

/// The last lines that fit; a line that does not fit alone loses its beginning.
fn last_lines(data: &[u8], room: usize) -> &[u8] {
    if data.len() <= room {
        return data;
    }
    let cut = data.len() - room;
    match memchr::memchr(b'\n', &data[cut - 1..]) {
        Some(newline) if cut + newline < data.len() => &data[cut + newline..],
        _ => &data[cut..],
    }
}

fn newline_from(first: &[u8], second: &[u8], from: usize) -> Option<usize> {
    if from < first.len() {
        if let Some(at) = memchr::memchr(b'\n', &first[from..]) {
            return Some(from + at);
        }
    }
    let skip = from.saturating_sub(first.len());
    memchr::memchr(b'\n', second.get(skip..)?).map(|at| first.len() + skip + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn contents(ring: &Ring, lines: usize) -> Vec<u8> {
        let mut out = Vec::new();
        ring.tail(lines).into_iter().for_each(|record| ring.copy(record, &mut out));
        out
    }

    fn push(ring: &mut Ring, text: &[u8]) {
        let piece = Piece { data: text, partial: text.last() != Some(&b'\n') };
        ring.resize_if_wanted(text.len());
        ring.push(Stream::Stdout, 7, piece);
    }

    impl Ring {
        fn resize_if_wanted(&mut self, length: usize) {
            let wanted = self.wanted(length);
            if wanted > self.capacity() {
                self.resize(wanted);
            }
        }
    }

    #[test]
    fn nothing_written_costs_nothing_and_ten_lines_cost_the_minimum() {
        let mut ring = Ring::default();
        assert_eq!((ring.capacity(), ring.tail(10).len()), (0, 0));
        (0..10).for_each(|_| push(&mut ring, &[b"x".repeat(79), b"\n".to_vec()].concat()));
        assert_eq!(ring.capacity(), RING_MIN);
    }

    #[test]
    fn a_short_line_does_not_throw_out_a_long_block() {
        let mut ring = Ring::default();
        push(&mut ring, &b"0123456789abcde\n".repeat(4094));
        let before = ring.used();
        push(&mut ring, b"short\n");
        assert!(ring.used() > before - 40, "{} of {before} left", ring.used());
        assert!(contents(&ring, 2).ends_with(b"0123456789abcde\nshort\n"));
    }

    #[test]
    fn a_tail_counts_lines_over_records_and_streams() {
        let mut ring = Ring::default();
        push(&mut ring, b"one\ntwo\n");
        ring.push(Stream::Stderr, 8, Piece { data: b"three\nfour\n", partial: false });
        push(&mut ring, b"end");
        assert_eq!(contents(&ring, 3), b"three\nfour\nend");
        let tail = ring.tail(2);
        assert_eq!(
            tail.iter().map(|record| (record.stream, record.time, record.partial)).collect::<Vec<_>>(),
            [(Stream::Stderr, 8, false), (Stream::Stdout, 7, true)]
        );
        assert_eq!(contents(&ring, 0), b"");
    }

    fn pieces() -> impl Strategy<Value = Vec<(u8, usize, bool)>> {
        let size = prop_oneof![6 => 1..120_usize, 2 => 1_000..5_000_usize, 1 => 50_000..70_000_usize];
        proptest::collection::vec((any::<u8>(), size, any::<bool>()), 1..120)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn a_tail_is_always_a_suffix_and_starts_at_a_line(pieces in pieces(), lines in 0..400_usize, shrink in prop::option::of(0..5_usize)) {
            let mut ring = Ring::default();
            let mut written = Vec::new();
            for (byte, size, long_lines) in pieces {
                let width = if long_lines { 900 } else { 30 };
                let mut data: Vec<u8> = (0..size).map(|at| if at % width == width - 1 { b'\n' } else { byte | 0x20 }).collect();
                *data.last_mut().expect("not empty") = b'\n';
                push(&mut ring, &data);
                written.extend(data);
                prop_assert!(ring.used() <= ring.capacity() && ring.capacity() <= RING_MAX);
            }
            if let Some(power) = shrink {
                let capacity = RING_MIN << power;
                if capacity < ring.capacity() {
                    ring.resize(capacity);
                }
            }
            let all = contents(&ring, usize::MAX);
            prop_assert!(written.ends_with(&all));
            prop_assert!(!all.is_empty());
            let before = written.len() - all.len();
            prop_assert!(before == 0 || written[before - 1] == b'\n');
            let tail = contents(&ring, lines);
            prop_assert!(all.ends_with(&tail));
            let held = memchr::memchr_iter(b'\n', &all).count();
            prop_assert_eq!(memchr::memchr_iter(b'\n', &tail).count(), lines.min(held));
        }

        #[test]
        fn a_full_ring_keeps_nearly_all_it_can(count in 800..3_000_usize) {
            let mut ring = Ring::default();
            (0..count).for_each(|number| push(&mut ring, format!("line {number:060}\n").as_bytes()));
            prop_assert!(RING_MAX - ring.used() < 200 || ring.used() == count * (66 + HEADER));
        }
    }
}
