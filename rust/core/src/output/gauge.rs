//! The books of one bounded queue: what waits, what was lost, who has to wait.
//!
//! Law: admitted + dropped = offered, and admitted = delivered + pending + abandoned, to the byte.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A destination that takes nothing for this long is in trouble: its data is dropped, its workers run on.
pub const STALL: Duration = Duration::from_secs(2);

/// What is kept of those who cannot wait because they are dead, while nothing but waiting is wanted.
pub(super) const LEFT_BEHIND: usize = 16 * 1024 * 1024;

/// What a full queue means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Policy {
    /// The writer of the data waits while the destination makes progress (files).
    Wait,
    /// He waits until the destination takes data, and be it tomorrow.
    Block,
    /// What does not fit is lost and counted (terminals, pipes).
    Drop,
}

/// What becomes of data offered to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Take,
    /// Take it, but ask for no more.
    TakeAndWait,
    Drop,
}

/// The account of one queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Gauge {
    policy: Policy,
    /// May change while data waits.
    pub capacity: usize,
    /// What is kept beyond that of the dead. May change as well.
    pub left_behind: usize,
    /// Bytes admitted and not yet delivered.
    pending: usize,
    /// Bytes lost since the trouble or the congestion began.
    lost: u64,
    lost_total: u64,
    delivered: u64,
    /// Last time the destination took something, or was handed something while idle.
    #[serde(skip, default = "Instant::now")]
    progress: Instant,
    trouble: Option<i32>,
    waiting: bool,
}

impl Default for Gauge {
    fn default() -> Gauge {
        Gauge::new(Policy::Wait, 0, Instant::now())
    }
}

impl Gauge {
    pub fn new(policy: Policy, capacity: usize, now: Instant) -> Self {
        Gauge {
            policy,
            capacity,
            left_behind: LEFT_BEHIND,
            pending: 0,
            lost: 0,
            lost_total: 0,
            delivered: 0,
            progress: now,
            trouble: None,
            waiting: false,
        }
    }

    /// Changes the rule; who waits may be released by that.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    fn makes_wait(&self) -> bool {
        match self.policy {
            Policy::Wait => self.trouble.is_none(),
            Policy::Block => true,
            Policy::Drop => false,
        }
    }

    /// Decides about data and books it.
    pub fn offer(&mut self, length: usize) -> Admission {
        self.offer_within(length, 0)
    }

    /// As `offer`, with some room more: for what is small and matters more than the rest.
    pub fn offer_within(&mut self, length: usize, extra: usize) -> Admission {
        let capacity = self.capacity + extra;
        let refused = match self.policy {
            // One chunk more than the capacity: what was read from a worker is never lost for want of room.
            Policy::Wait => self.trouble.is_some() && self.pending >= capacity,
            Policy::Block => self.trouble.is_some() && self.pending >= capacity + self.left_behind,
            Policy::Drop => self.pending + length > capacity,
        };
        if refused {
            self.lose(length);
            return Admission::Drop;
        }
        if self.pending == 0 {
            self.progress = Instant::now();
        }
        self.pending += length;
        if self.makes_wait() && self.pending >= self.capacity {
            self.waiting = true;
            return Admission::TakeAndWait;
        }
        Admission::Take
    }

    /// Books data that nobody will get.
    pub fn lose(&mut self, length: usize) {
        self.lost += length as u64;
        self.lost_total += length as u64;
    }

    /// The destination took this many bytes. Gives the bytes lost if a trouble ends with it.
    pub fn deliver(&mut self, length: usize, now: Instant) -> Option<u64> {
        self.pending -= length;
        self.delivered += length as u64;
        self.progress = now;
        self.trouble.take()?;
        // The time of dropping is over: from here on a full queue means waiting again.
        self.waiting |= self.makes_wait() && self.pending >= self.capacity;
        Some(std::mem::take(&mut self.lost))
    }

    /// The destination refuses data. True if that is news.
    pub fn fail(&mut self, errno: i32) -> bool {
        self.trouble.replace(errno).is_none()
    }

    /// The destination is gone for good: what is pending will not be delivered.
    pub fn abandon(&mut self, length: usize) {
        self.pending -= length;
        self.lose(length);
    }

    /// Takes the bytes lost so far, for a notice.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Whether waiting writers may go on; asked once, told once.
    pub fn release(&mut self) -> bool {
        let enough = !self.makes_wait() || self.pending <= self.capacity / 2;
        enough && std::mem::take(&mut self.waiting)
    }

    /// When the patience of those who wait ends.
    pub fn deadline(&self) -> Option<Instant> {
        (self.waiting && self.trouble.is_none()).then(|| self.progress + STALL)
    }

    /// Somebody has waited for longer than is reasonable.
    pub fn is_stalled(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Whether somebody waits, so that others had better wait too.
    pub fn is_waited_for(&self) -> bool {
        self.waiting
    }

    pub fn pending(&self) -> usize {
        self.pending
    }

    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    pub fn lost_total(&self) -> u64 {
        self.lost_total
    }

    /// Why the destination refuses data, while it does.
    pub fn trouble(&self) -> Option<i32> {
        self.trouble
    }

    /// Bytes lost since that began.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    pub fn in_trouble(&self) -> bool {
        self.trouble.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Offer(usize),
        Deliver(usize),
        Fail,
        Abandon(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (1..400_usize).prop_map(Step::Offer),
            4 => (1..400_usize).prop_map(Step::Deliver),
            1 => Just(Step::Fail),
            1 => (1..50_usize).prop_map(Step::Abandon),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn the_books_balance(steps in steps(), policy in prop_oneof![Just(Policy::Drop), Just(Policy::Wait), Just(Policy::Block)]) {
            let now = Instant::now();
            let (drop, block) = (policy == Policy::Drop, policy == Policy::Block);
            let mut gauge = Gauge::new(policy, 1000, now);
            let (mut offered, mut told) = (0, 0);
            for step in steps {
                match step {
                    // Who is told to wait waits.
                    Step::Offer(_) if gauge.is_waited_for() && !gauge.release() => {}
                    Step::Offer(length) => {
                        offered += length as u64;
                        let admission = gauge.offer(length);
                        prop_assert!(!(drop && admission == Admission::TakeAndWait));
                        prop_assert!(drop || gauge.in_trouble() || admission != Admission::Drop, "a file loses nothing while the disk takes data");
                        prop_assert!(!block || admission != Admission::Drop, "who would rather wait loses nothing at all");
                    }
                    Step::Deliver(length) if gauge.pending() > 0 => told += gauge.deliver(length.min(gauge.pending()), now).unwrap_or(0),
                    Step::Deliver(_) => {}
                    Step::Fail => { gauge.fail(28); }
                    Step::Abandon(length) => gauge.abandon(length.min(gauge.pending())),
                }
                prop_assert!(gauge.pending() < 1000 + 400);
                prop_assert_eq!(gauge.delivered() + gauge.lost_total() + gauge.pending() as u64, offered);
            }
            prop_assert_eq!(told + gauge.take_lost(), gauge.lost_total());
        }
    }

    #[test]
    fn who_would_rather_wait_waits_through_a_trouble() {
        let now = Instant::now();
        let mut gauge = Gauge::new(Policy::Block, 100, now);
        assert_eq!(gauge.offer(150), Admission::TakeAndWait);
        assert!(gauge.fail(28) && !gauge.release() && gauge.is_waited_for());
        assert_eq!(gauge.deadline(), None, "nobody's patience ends");
        assert_eq!(gauge.offer(50), Admission::TakeAndWait, "left by a worker that died");
        assert_eq!(gauge.offer(LEFT_BEHIND), Admission::TakeAndWait);
        assert_eq!(gauge.offer(1), Admission::Drop, "a bound there is");
        assert_eq!(gauge.deliver(100, now), Some(1));
        assert!(!gauge.release() && gauge.deadline().is_some());
        gauge.deliver(LEFT_BEHIND + 50, now);
        assert!(gauge.release());
        gauge.offer(150);
        gauge.fail(28);
        gauge.set_policy(Policy::Wait);
        assert!(gauge.release(), "the other rule lets them go");
    }

    #[test]
    fn who_waits_is_released_once_at_half() {
        let now = Instant::now();
        let mut gauge = Gauge::new(Policy::Wait, 100, now);
        assert_eq!(gauge.offer(99), Admission::Take);
        assert_eq!(gauge.offer(50), Admission::TakeAndWait);
        assert!(gauge.deadline().is_some());
        gauge.deliver(90, now);
        assert!(!gauge.release());
        gauge.deliver(9, now);
        assert!(gauge.release() && !gauge.release() && gauge.deadline().is_none());
    }
}
