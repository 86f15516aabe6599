//! What the keeper has heard from one worker.

use super::closer::Waiting;
use super::report::{Report, SavedReport};
use super::wire::{SavedWire, Wire};
use crate::notify::{Beat, Said};
use crate::state::{Inherited, Luggage};
use crate::sys::{NotifySocket, SavedNotifySocket};
use serde::{Deserialize, Serialize};

/// Nanoseconds for which a sender who was looked at is not looked at again.
const BELIEVED: u64 = 1_000_000_000;
/// Senders who are remembered.
const MOST_SENDERS: usize = 8;

/// The ear for one worker, and what came in by it.
#[derive(Default)]
pub struct Hearing {
    /// Gone with the worker, or where it was misused.
    pub socket: Option<NotifySocket>,
    /// The conversation with who has inherited its other end.
    pub wire: Option<Wire>,
    /// When it was told to take no more jobs, unless it was told to take some again.
    pub told_to_park: Option<u64>,
    /// The user it runs as.
    pub uid: u32,
    /// Messages from others.
    pub strangers: u32,
    senders: Vec<(i32, u64)>,
    /// Descriptors that it has passed and that are not closed yet.
    pub passed: Waiting,
    /// `READY=1` has come, whether or not that makes it ready.
    pub said_ready: bool,
    pub watchdog: Watchdog,
    pub report: Report,
}

impl Hearing {
    /// Nothing has been heard yet.
    pub fn new(ears: Option<(NotifySocket, Wire)>, uid: u32, watchdog: Watchdog) -> Hearing {
        let (socket, wire) = ears.unzip();
        Hearing { socket, wire, uid, watchdog, ..Hearing::default() }
    }

    /// Whether this process was found to be the worker's a moment ago.
    pub fn knows(&self, pid: i32, now: u64) -> bool {
        self.senders.iter().any(|(known, until)| *known == pid && now < *until)
    }

    /// Remembers that it is.
    pub fn remember(&mut self, pid: i32, now: u64) {
        self.senders.retain(|(known, until)| *known != pid && now < *until);
        if self.senders.len() == MOST_SENDERS {
            self.senders.remove(0);
        }
        self.senders.push((pid, now + BELIEVED));
    }
}

/// As an upgrade hands it on. Senders are looked at anew.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedHearing {
    socket: Option<SavedNotifySocket>,
    wire: Option<SavedWire>,
    told_to_park: Option<u64>,
    uid: u32,
    strangers: u32,
    said_ready: bool,
    watchdog: Watchdog,
    report: SavedReport,
}

impl Hearing {
    pub fn save(&self, luggage: &mut Luggage) -> SavedHearing {
        let Hearing { socket, wire, told_to_park, uid, strangers, senders: _, .. } = self;
        let Hearing { passed: _, said_ready, watchdog, report, .. } = self;
        SavedHearing {
            socket: socket.as_ref().map(|socket| socket.save(luggage)),
            wire: wire.as_ref().map(|wire| wire.save(luggage)),
            told_to_park: *told_to_park,
            uid: *uid,
            strangers: *strangers,
            said_ready: *said_ready,
            watchdog: *watchdog,
            report: report.save(luggage),
        }
    }

    pub fn restore(saved: SavedHearing, inherited: &Inherited) -> Hearing {
        let SavedHearing { socket, wire, told_to_park, uid, strangers, said_ready, watchdog, report } = saved;
        let socket = socket.map(|socket| NotifySocket::restore(socket, inherited));
        let wire = wire.map(|wire| Wire::restore(wire, inherited));
        let report = Report::restore(report, inherited);
        Hearing { socket, wire, told_to_park, uid, strangers, said_ready, watchdog, report, ..Hearing::default() }
    }
}

/// Time within which a worker has to say that all is well, again and again, once it is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watchdog {
    /// Nanoseconds; none is no watchdog.
    pub patience: Option<u64>,
    /// When it is over. None before readiness, and after the worker was asked to leave.
    pub due: Option<u64>,
    /// There is an appointment at this time, not later than `due`.
    pub alarm: Option<u64>,
    /// The worker has said that something is wrong.
    triggered: bool,
    /// It has been over, after so many milliseconds; or, after none, because the worker has said so.
    pub expired: Option<u64>,
}

impl Watchdog {
    /// From milliseconds.
    pub fn of(milliseconds: Option<u64>) -> Watchdog {
        let patience = milliseconds.map(|ms| ms.saturating_mul(1_000_000));
        Watchdog { patience, ..Watchdog::default() }
    }

    /// Time begins to run, or begins anew.
    pub fn renew(&mut self, now: u64) {
        if let Some(patience) = self.patience.filter(|_| self.expired.is_none()) {
            self.due = Some(now.saturating_add(patience));
        }
    }

    /// What the worker says. Only one that its queue watches can change how long that waits.
    pub fn heed(&mut self, said: &Said, now: u64) {
        if let (Some(_), Some(usec)) = (self.patience, said.watchdog_usec) {
            self.patience = Some(usec.saturating_mul(1_000));
        }
        let renews = said.watchdog == Some(Beat::Alive) || said.watchdog_usec.is_some();
        if renews && self.due.is_some() {
            self.renew(now);
        }
        self.triggered |= self.patience.is_some() && said.watchdog == Some(Beat::Trigger);
    }

    /// Whether it is over now. True once.
    pub fn expires(&mut self, now: u64) -> bool {
        let over = self.expired.is_none() && (self.triggered || self.due.is_some_and(|due| due <= now));
        if over {
            self.expired = self.patience.filter(|_| !self.triggered).map(|ns| ns / 1_000_000).or(Some(0));
            self.due = None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MILLISECOND: u64 = 1_000_000;

    fn said(text: &str) -> Said {
        Said::parse(text.as_bytes())
    }

    #[test]
    fn senders_are_remembered_for_a_while_and_not_too_many_of_them() {
        let mut hearing = Hearing::default();
        (0..100).for_each(|pid| hearing.remember(pid, 0));
        assert_eq!(hearing.senders.len(), MOST_SENDERS);
        assert!(hearing.knows(99, BELIEVED - 1) && !hearing.knows(99, BELIEVED) && !hearing.knows(0, 0));
    }

    /// What happens to a watchdog, and after how many milliseconds.
    fn steps() -> impl Strategy<Value = Vec<(u64, u8)>> {
        proptest::collection::vec((0..400_u64, 0..3_u8), 0..30)
    }

    proptest! {
        /// Against the plain rule: it expires when a second has passed since the last sign of life, once, and at no other time.
        #[test]
        fn a_watchdog_expires_exactly_when_its_patience_is_over(steps in steps(), ready_after in 0..500_u64) {
            let mut watchdog = Watchdog::of(Some(1_000));
            prop_assert!(!watchdog.expires(u64::MAX), "before readiness");
            let mut now = ready_after * MILLISECOND;
            watchdog.renew(now);
            let (mut last, mut over) = (now, false);
            for (pause, what) in steps {
                now += pause * MILLISECOND;
                let due = !over && now >= last + 1_000 * MILLISECOND;
                prop_assert_eq!(watchdog.expires(now), due);
                over |= due;
                if what == 1 {
                    watchdog.heed(&said("WATCHDOG=1"), now);
                    last = now;
                } else if what == 2 {
                    watchdog.heed(&said("STATUS=fine"), now);
                }
            }
            prop_assert_eq!(watchdog.expired, over.then_some(1_000));
        }
    }
}
