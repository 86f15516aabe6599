//! Subscriptions as the reactor uses them, and the tail each begins with.

use std::sync::Arc;

use super::ring::Record;
use super::subscription::{Delivery, Interest, Line, Subscription, TAIL_LIMIT};
use super::{Output, SubscriptionId};

impl Output {
    /// A new reader. What it gets is taken with [`Output::next_delivery`]: the tail, `TailEnd`, then what follows.
    pub fn subscribe(&mut self, interest: Interest) -> SubscriptionId {
        let (tail, lost) = self.tail(&interest);
        let follow = interest.follow;
        let id = self.subscriptions.insert(Subscription::new(interest, tail, lost));
        self.subscribers_dropped += lost;
        if let Some(subscription) = self.subscriptions.get(id).filter(|_| follow) {
            let followed = self.slots.iter_mut().filter(|(_, slot)| subscription.interest.includes(&slot.name));
            followed.for_each(|(_, slot)| slot.readers.push(id));
        }
        SubscriptionId(id)
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

    /// Nothing is left for this reader and nothing will come.
    pub fn is_finished(&self, id: SubscriptionId) -> bool {
        self.subscriptions.get(id.0).is_none_or(Subscription::is_finished)
    }

    /// Readers for whom something has come since they were last found to have nothing.
    pub fn take_readable(&mut self) -> Vec<SubscriptionId> {
        std::mem::take(&mut self.readable)
    }

    /// The last lines of each worker in the order of time, and the bytes that were too many.
    fn tail(&self, interest: &Interest) -> (Vec<Line>, u64) {
        let lines = interest.tail as usize;
        let mut records: Vec<(Record, u32, &Arc<str>)> = Vec::new();
        if lines > 0 {
            for (_, slot) in self.slots.iter().filter(|(_, slot)| interest.includes(&slot.name)) {
                records.extend(
                    self.rings.tail(slot.ring, lines).into_iter().map(|record| (record, slot.ring, &slot.name)),
                );
            }
        }
        // Stable: within a worker the order stays, even if the clock was set back between equal times.
        records.sort_by_key(|(record, ..)| record.time);
        let mut room = TAIL_LIMIT;
        let fits = |(record, ..): &&(Record, u32, &Arc<str>)| {
            let fits = record.length <= room;
            room = if fits { room - record.length } else { 0 };
            fits
        };
        let kept = records.iter().rev().take_while(fits).count();
        let (lost, kept) = records.split_at(records.len() - kept);
        let tail = kept.iter().map(|&(record, ring, worker)| self.tail_line(record, ring, worker)).collect();
        (tail, lost.iter().map(|(record, ..)| record.length as u64).sum())
    }

    fn tail_line(&self, record: Record, ring: u32, worker: &Arc<str>) -> Line {
        let mut data = Vec::with_capacity(record.length);
        self.rings.copy(ring, record, &mut data);
        let Record { stream, time, partial, .. } = record;
        Line { worker: Arc::clone(worker), stream, time, data: data.into(), partial }
    }
}
