//! Subscriptions as the reactor uses them, and the tail each begins with.

use std::sync::Arc;

use super::ring::Record;
use super::slot::Slot;
use super::subscription::{Delivery, Interest, Line, Subscription, TAIL_LIMIT};
use super::{Output, SubscriptionId};

impl Output {
    /// A new reader. What it gets is taken with [`Output::next_delivery`]: the tail, `TailEnd`, then what follows.
    pub fn subscribe(&mut self, interest: Interest) -> SubscriptionId {
        let (tail, lost, lines) = self.tail(&interest);
        let follow = interest.follow;
        let id = self.subscriptions.insert(Subscription::new(interest, tail, lost, lines));
        self.subscribers_dropped += lost;
        if let Some(subscription) = self.subscriptions.get(id).filter(|_| follow) {
            let followed = self.slots.iter_mut().filter(|(_, slot)| subscription.interest.includes(&slot.name));
            followed.for_each(|(_, slot)| slot.readers.push(id));
        }
        SubscriptionId(id)
    }

    /// From now on a reader follows these workers; what waits for it stays.
    pub fn redirect(&mut self, id: SubscriptionId, workers: Vec<String>) {
        let Some(subscription) = self.subscriptions.get_mut(id.0) else { return };
        subscription.interest.workers = workers;
        for (_, slot) in self.slots.iter_mut() {
            slot.readers.retain(|&reader| reader != id.0);
            if subscription.interest.includes(&slot.name) {
                slot.readers.push(id.0);
            }
        }
    }

    /// The reader is gone.
    pub fn unsubscribe(&mut self, id: SubscriptionId) {
        if self.subscriptions.remove(id.0).is_some() {
            self.slots.iter_mut().for_each(|(_, slot)| slot.readers.retain(|&reader| reader != id.0));
            self.readable.retain(|&reader| reader != id);
        }
    }

    /// The next thing for a reader; none when there is nothing now. Take until none, or until its socket is full.
    pub fn next_delivery(&mut self, id: SubscriptionId) -> Option<Delivery> {
        self.subscriptions.get_mut(id.0)?.pop()
    }

    /// What was taken for a reader and did not reach it: the next one that reads from this gets it first.
    pub fn put_back(&mut self, id: SubscriptionId, deliveries: Vec<Delivery>) {
        if let Some(subscription) = self.subscriptions.get_mut(id.0) {
            subscription.put_back(deliveries);
        }
    }

    /// Bytes that wait for a reader, bookkeeping included.
    #[cfg(test)]
    pub(crate) fn waiting(&self, id: SubscriptionId) -> usize {
        self.subscriptions.get(id.0).map_or(0, Subscription::waiting)
    }

    /// Nothing is left for this reader and nothing will come.
    pub fn is_finished(&self, id: SubscriptionId) -> bool {
        self.subscriptions.get(id.0).is_none_or(Subscription::is_finished)
    }

    /// Readers for whom something has come since they were last found to have nothing.
    pub fn take_readable(&mut self) -> Vec<SubscriptionId> {
        std::mem::take(&mut self.readable)
    }

    /// The last lines of each worker in the order of time, and the bytes and lines that were too many.
    fn tail(&self, interest: &Interest) -> (Vec<Line>, u64, u64) {
        let lines = interest.tail as usize;
        let mut records: Vec<(Record, &Slot)> = Vec::new();
        if lines > 0 {
            for (_, slot) in self.slots.iter().filter(|(_, slot)| interest.includes(&slot.name)) {
                records.extend(self.rings.tail(slot.ring, lines).into_iter().map(|record| (record, slot)));
            }
        }
        // Stable: within a worker the order stays, even if the clock was set back between equal times.
        records.sort_by_key(|(record, ..)| record.time);
        let mut room = TAIL_LIMIT;
        let fits = |(record, _): &&(Record, &Slot)| {
            let fits = record.length <= room;
            room = if fits { room - record.length } else { 0 };
            fits
        };
        let kept = records.iter().rev().take_while(fits).count();
        let (lost, kept) = records.split_at(records.len() - kept);
        let tail = kept.iter().map(|&(record, slot)| self.tail_line(record, slot)).collect();
        let bytes = lost.iter().map(|(record, ..)| record.length as u64).sum();
        (tail, bytes, lost.iter().map(|&(record, slot)| self.lines_of(record, slot.ring)).sum())
    }

    fn lines_of(&self, record: Record, ring: u32) -> u64 {
        let mut data = Vec::with_capacity(record.length);
        self.rings.copy(ring, record, &mut data);
        memchr::memchr_iter(b'\n', &data).count() as u64 + u64::from(record.partial)
    }

    fn tail_line(&self, record: Record, slot: &Slot) -> Line {
        let mut data = Vec::with_capacity(record.length);
        self.rings.copy(slot.ring, record, &mut data);
        let Record { stream, time, partial, .. } = record;
        // The ring outlives who wrote into it: of those before this one no numbers are kept.
        let generation = if slot.since > 0 && time >= slot.since { slot.generation } else { 0 };
        Line { worker: Arc::clone(&slot.name), generation, stream, time, data: data.into(), partial }
    }
}
