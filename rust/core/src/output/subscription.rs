//! Readers of output: a bounded queue each, gaps where it was too small.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::glob;
use crate::proto::messages::Stream;

/// Bytes waiting for one reader, bookkeeping included.
pub const SUBSCRIPTION_QUEUE: usize = 1024 * 1024;
/// Bytes of a tail; the newest lines win.
pub const TAIL_LIMIT: usize = 4 * 1024 * 1024;

/// What a queued piece costs beyond its bytes.
const OVERHEAD: usize = 96;

/// What a reader asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interest {
    /// Globs over worker ids, or over queues; none is all.
    pub workers: Vec<String>,
    /// This many of the last lines of each worker.
    pub tail: u32,
    /// And what follows.
    pub follow: bool,
}

impl Interest {
    /// Whether it includes the worker.
    pub fn includes(&self, worker: &str) -> bool {
        self.workers.is_empty() || self.workers.iter().any(|pattern| glob::names(pattern, worker))
    }
}

/// A piece of output on its way to a reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Who wrote it.
    pub worker: Arc<str>,
    /// Which of those that had its place; 0 where that is not known any more.
    #[serde(default)]
    pub generation: u64,
    /// Where.
    pub stream: Stream,
    /// When it was read, in nanoseconds since the epoch.
    pub time: u64,
    /// Whole lines, except where `partial`.
    pub data: Bytes,
    /// It does not end with a newline.
    pub partial: bool,
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// Output.
    Output(Line),
    /// So many bytes were lost here because the reader was too slow, or the tail too long.
    Gap {
        /// Bytes of output.
        bytes: u64,
        /// Lines of that; a part of one that was too long counts as one.
        #[serde(default)]
        lines: u64,
    },
    /// The tail is complete.
    TailEnd,
}

/// One reader's queue.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Subscription {
    pub interest: Interest,
    queue: VecDeque<Delivery>,
    queued: usize,
    lost: u64,
    lost_lines: u64,
    /// Told to the reactor as readable, and not found empty since. So it begins: there is a tail to send.
    announced: bool,
    /// The tail is being sent. It is not counted as queued, having a bound of its own.
    in_tail: bool,
}

impl Subscription {
    /// Begins with the tail: its lines in the order of time.
    pub fn new(interest: Interest, tail: Vec<Line>, lost: u64, lost_lines: u64) -> Self {
        let mut subscription = Subscription { interest, announced: true, in_tail: true, ..Subscription::default() };
        if lost > 0 {
            subscription.queue.push_back(Delivery::Gap { bytes: lost, lines: lost_lines });
        }
        subscription.queue.extend(tail.into_iter().map(Delivery::Output));
        subscription.queue.push_back(Delivery::TailEnd);
        subscription
    }

    /// Whether a piece fits. After a loss the queue has to be half empty first: one gap instead of hundreds.
    pub fn has_room(&self, length: usize) -> bool {
        let room = if self.lost > 0 { SUBSCRIPTION_QUEUE / 2 } else { SUBSCRIPTION_QUEUE };
        self.queued + length + OVERHEAD <= room
    }

    /// Counts a piece that does not fit. Gives its bytes.
    pub fn lose(&mut self, length: usize, lines: u64) -> u64 {
        self.lost += length as u64;
        self.lost_lines += lines;
        length as u64
    }

    /// Queues a piece that fits, after the gap before it.
    pub fn push(&mut self, line: Line) {
        if let Some(gap) = self.take_gap() {
            self.queue.push_back(gap);
        }
        self.queued += line.data.len() + OVERHEAD;
        self.queue.push_back(Delivery::Output(line));
    }

    /// True if the reader has to be told that there is something.
    pub fn announce(&mut self) -> bool {
        !std::mem::replace(&mut self.announced, true)
    }

    /// The next thing for the reader.
    pub fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.queue.pop_front().or_else(|| self.take_gap());
        match &delivery {
            Some(Delivery::Output(line)) if !self.in_tail => self.queued -= line.data.len() + OVERHEAD,
            Some(Delivery::TailEnd) => self.in_tail = false,
            Some(Delivery::Output(_) | Delivery::Gap { .. }) => {}
            None => {
                self.announced = false;
                self.queue.shrink_to(0);
            }
        }
        delivery
    }

    /// Takes back what was popped last and did not reach the reader, in that order: it comes first again. The queue is
    /// longer by that than its bound, until it has been popped anew.
    pub fn put_back(&mut self, deliveries: Vec<Delivery>) {
        for delivery in deliveries.into_iter().rev() {
            match &delivery {
                Delivery::Output(line) if !self.in_tail => self.queued += line.data.len() + OVERHEAD,
                Delivery::TailEnd => self.in_tail = true,
                Delivery::Output(_) | Delivery::Gap { .. } => {}
            }
            self.queue.push_front(delivery);
        }
    }

    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.queued
    }

    /// Nothing is left and nothing will come.
    pub fn is_finished(&self) -> bool {
        !self.interest.follow && self.queue.is_empty() && self.lost == 0
    }

    fn take_gap(&mut self) -> Option<Delivery> {
        let (bytes, lines) = (std::mem::take(&mut self.lost), std::mem::take(&mut self.lost_lines));
        (bytes > 0).then_some(Delivery::Gap { bytes, lines })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(length: usize) -> Line {
        Line {
            worker: Arc::from("w.1"),
            generation: 1,
            stream: Stream::Stdout,
            time: 0,
            data: vec![b'x'; length].into(),
            partial: false,
        }
    }

    fn follow() -> Subscription {
        Subscription::new(Interest { follow: true, ..Interest::default() }, Vec::new(), 0, 0)
    }

    #[test]
    fn a_reader_is_told_once_until_it_found_nothing() {
        let mut subscription = follow();
        assert_eq!((subscription.pop(), subscription.pop()), (Some(Delivery::TailEnd), None));
        assert!(subscription.announce());
        subscription.push(line(1));
        assert!(!subscription.announce());
        assert!(subscription.pop().is_some());
        assert!(!subscription.announce(), "the reader has not been told that there is nothing");
        assert!(subscription.pop().is_none());
        assert!(subscription.announce());
    }

    #[test]
    fn without_follow_it_ends_with_the_tail() {
        let mut subscription = Subscription::new(Interest::default(), vec![line(3)], 0, 0);
        assert_eq!(subscription.pop(), Some(Delivery::Output(line(3))));
        assert!(!subscription.is_finished());
        assert_eq!(subscription.pop(), Some(Delivery::TailEnd));
        assert!(subscription.is_finished());
    }

    #[test]
    fn what_is_put_back_comes_again_and_takes_the_same_room() {
        let mut subscription = Subscription::new(Interest { follow: true, ..Interest::default() }, vec![line(5)], 7, 1);
        subscription.push(line(1));
        while subscription.has_room(SUBSCRIPTION_QUEUE / 8) {
            subscription.push(line(SUBSCRIPTION_QUEUE / 8));
        }
        subscription.lose(9, 2);
        let (queued, mut same) = (subscription.queued, subscription.clone());
        let all: Vec<Delivery> = std::iter::from_fn(|| same.pop()).collect();
        assert_eq!(all.last(), Some(&Delivery::Gap { bytes: 9, lines: 2 }));
        for taken in 0..=all.len() {
            let (mut reader, kept) = (subscription.clone(), taken / 2);
            let mut had: Vec<Delivery> = (0..taken).map_while(|_| reader.pop()).collect();
            reader.put_back(had.split_off(kept));
            had.extend(std::iter::from_fn(|| reader.pop()));
            assert_eq!(had, all, "{taken}");
            assert_eq!((reader.queued, reader.in_tail), (0, false));
            let mut nobody = subscription.clone();
            let had = (0..taken).map_while(|_| nobody.pop()).collect();
            nobody.put_back(had);
            assert_eq!((nobody.queued, nobody.in_tail), (queued, true));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn delivered_and_gaps_are_all(steps in proptest::collection::vec(prop_oneof![3 => (1..100_000_usize).prop_map(Some), 2 => Just(None)], 0..300)) {
            let mut subscription = follow();
            let (mut offered, mut lost, mut delivered, mut gaps) = (0, 0, 0, 0);
            let (mut pieces, mut seen, mut missed) = (0, 0, 0);
            let mut count = |delivery: Delivery| match delivery {
                Delivery::Output(line) => {
                    delivered += line.data.len() as u64;
                    seen += 1;
                }
                Delivery::Gap { bytes, lines } => {
                    gaps += bytes;
                    missed += lines;
                }
                Delivery::TailEnd => {}
            };
            for step in steps {
                match step {
                    Some(length) => {
                        offered += length as u64;
                        pieces += 1;
                        if subscription.has_room(length) {
                            subscription.push(line(length));
                        } else {
                            lost += subscription.lose(length, 1);
                        }
                    }
                    None => { subscription.pop().map(&mut count); }
                }
                prop_assert!(subscription.queued <= SUBSCRIPTION_QUEUE);
            }
            std::iter::from_fn(|| subscription.pop()).for_each(&mut count);
            prop_assert_eq!(delivered + gaps, offered);
            prop_assert_eq!(gaps, lost);
            prop_assert_eq!(seen + missed, pieces);
        }
    }
}
