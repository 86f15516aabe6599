//! All rings together: a bound on their memory, shared fairly.

use serde::{Deserialize, Serialize};

use super::framer::Piece;
use super::ring::{Record, Ring, SavedRecord, RING_MIN};
use super::slab::Slab;
use crate::proto::messages::Stream;

/// The rings of all workers under one bound.
#[derive(Debug)]
pub(super) struct Rings {
    rings: Slab<Entry>,
    count: usize,
    limit: usize,
    total: usize,
    clock: u64,
}

/// A ring as an upgrade hands it on.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedRing {
    /// How many were written to longer ago.
    order: usize,
    records: Vec<SavedRecord>,
}

#[derive(Debug, Default)]
struct Entry {
    ring: Ring,
    /// Grows with every write of any ring: who has the smallest wrote longest ago.
    written: u64,
}

impl Rings {
    pub fn new(limit: usize) -> Self {
        Rings { rings: Slab::default(), count: 0, limit, total: 0, clock: 0 }
    }

    /// What all of them hold.
    pub fn save(&self) -> Slab<SavedRing> {
        let Rings { rings, count: _, limit: _, total: _, clock: _ } = self;
        let before = |this: u64| rings.iter().filter(|(_, entry)| entry.written < this).count();
        rings.map(|_, Entry { ring, written }| SavedRing { order: before(*written), records: ring.save() })
    }

    /// Under the same numbers again. Who wrote last comes last, so that he keeps most should the bound be another one.
    pub fn restore(limit: usize, saved: Slab<SavedRing>) -> Rings {
        let rings = saved.map(|_, _| Entry::default());
        let mut rings = Rings { count: rings.iter().count(), rings, limit, total: 0, clock: 0 };
        let mut order: Vec<(u32, &SavedRing)> = saved.iter().collect();
        order.sort_by_key(|(_, ring)| ring.order);
        for (index, ring) in order {
            for SavedRecord { stream, time, partial, data } in &ring.records {
                rings.push(index, *stream, *time, Piece { data, partial: *partial });
            }
        }
        rings
    }

    pub fn add(&mut self) -> u32 {
        self.count += 1;
        self.rings.insert(Entry::default())
    }

    pub fn remove(&mut self, index: u32) {
        if let Some(entry) = self.rings.remove(index) {
            self.total -= entry.ring.capacity();
            self.count -= 1;
        }
    }

    /// Bytes allocated by all rings.
    pub fn total(&self) -> usize {
        self.total
    }

    pub fn push(&mut self, index: u32, stream: Stream, time: u64, piece: Piece<'_>) {
        self.clock += 1;
        let clock = self.clock;
        let Some(entry) = self.rings.get_mut(index) else { return };
        entry.written = clock;
        if entry.ring.wanted(piece.data.len()) > entry.ring.capacity() {
            self.grow(index, piece.data.len());
        }
        if let Some(entry) = self.rings.get_mut(index) {
            entry.ring.push(stream, time, piece);
        }
    }

    /// Much more than a ring holds is coming: what is in it needs no copying any more.
    pub fn clear(&mut self, index: u32) {
        if let Some(entry) = self.rings.get_mut(index) {
            entry.ring.clear();
        }
    }

    pub fn tail(&self, index: u32, lines: usize) -> Vec<Record> {
        self.rings.get(index).map_or_else(Vec::new, |entry| entry.ring.tail(lines))
    }

    pub fn copy(&self, index: u32, record: Record, out: &mut Vec<u8>) {
        if let Some(entry) = self.rings.get(index) {
            entry.ring.copy(record, out);
        }
    }

    fn grow(&mut self, index: u32, length: usize) {
        let Some(ring) = self.rings.get(index).map(|entry| &entry.ring) else { return };
        let (present, wanted) = (ring.capacity(), ring.wanted(length));
        let mut target = wanted;
        // Near the bound a ring gets no more than its equal share, so that rings do not rob each other for ever.
        if self.total + wanted - present > self.limit {
            target = wanted.min(previous_power_of_two(self.limit / self.count).max(RING_MIN));
        }
        if target <= present {
            return;
        }
        while self.total + target - present > self.limit {
            if !self.shrink_oldest(index, target) {
                return;
            }
        }
        if let Some(entry) = self.rings.get_mut(index) {
            entry.ring.resize(target);
            self.total += target - present;
        }
    }

    /// Takes memory from the ring written longest ago among those above `share`, or else from the oldest of all.
    fn shrink_oldest(&mut self, except: u32, share: usize) -> bool {
        let others = || self.rings.iter().filter(|(index, entry)| *index != except && entry.ring.capacity() > 0);
        let above = others().filter(|(_, entry)| entry.ring.capacity() > share).min_by_key(|(_, entry)| entry.written);
        let victim = above.or_else(|| others().min_by_key(|(_, entry)| entry.written)).map(|(index, _)| index);
        let Some(entry) = victim.and_then(|index| self.rings.get_mut(index)) else { return false };
        let before = entry.ring.capacity();
        let after = if before > share { before / 2 } else { 0 };
        entry.ring.resize(if after < RING_MIN { 0 } else { after });
        self.total -= before - entry.ring.capacity();
        true
    }
}

fn previous_power_of_two(number: usize) -> usize {
    (number / 2 + 1).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Piece<'_> {
        Piece { data: text.as_bytes(), partial: false }
    }

    fn text(rings: &Rings, index: u32) -> String {
        let mut out = Vec::new();
        rings.tail(index, usize::MAX).into_iter().for_each(|record| rings.copy(index, record, &mut out));
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn the_bound_holds_and_everybody_keeps_a_share() {
        let mut rings = Rings::new(256 * 1024);
        let all: Vec<u32> = (0..20).map(|_| rings.add()).collect();
        for round in 0..3_000 {
            for &index in &all {
                rings.push(index, Stream::Stdout, 0, line(&format!("{round:05} of {index:03} {}\n", "x".repeat(60))));
            }
            assert!(rings.total() <= 256 * 1024);
        }
        for &index in &all {
            let kept = text(&rings, index);
            assert!(kept.ends_with(&format!("02999 of {index:03} {}\n", "x".repeat(60))));
            assert!(kept.len() > 3_000, "{index} kept {}", kept.len());
        }
    }

    #[test]
    fn who_wrote_longest_ago_gives_first() {
        let mut rings = Rings::new(128 * 1024);
        let (old, newer, newest) = (rings.add(), rings.add(), rings.add());
        for index in [old, newer] {
            rings.push(index, Stream::Stdout, 0, line(&"0123456789\n".repeat(5_000)));
        }
        rings.push(newest, Stream::Stdout, 0, line(&"0123456789\n".repeat(1_000)));
        assert!(text(&rings, old).len() < text(&rings, newer).len());
        assert!(!text(&rings, old).is_empty() && !text(&rings, newest).is_empty());
        assert!(rings.total() <= 128 * 1024);
    }

    #[test]
    fn more_workers_than_minimal_rings_still_fit() {
        let mut rings = Rings::new(8 * RING_MIN);
        let all: Vec<u32> = (0..30).map(|_| rings.add()).collect();
        all.iter().for_each(|&index| rings.push(index, Stream::Stdout, 0, line("hello\n")));
        assert_eq!(rings.total(), 8 * RING_MIN);
        assert_eq!(text(&rings, 29), "hello\n");
        assert_eq!(text(&rings, 0), "");
        rings.remove(29);
        assert_eq!(rings.total(), 7 * RING_MIN);
    }
}
