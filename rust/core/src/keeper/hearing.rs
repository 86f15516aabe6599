//! What the keeper has heard from one worker.

use super::closer::Waiting;
use crate::notify::{Beat, Said};
use crate::state::{Inherited, Luggage};
use crate::sys::{NotifySocket, SavedNotifySocket};
use serde::{Deserialize, Serialize};

/// Nanoseconds between two reports about one worker.
const PAUSE: u64 = 250_000_000;
/// Nanoseconds for which a sender who was looked at is not looked at again.
const BELIEVED: u64 = 1_000_000_000;
/// Senders who are remembered.
const MOST_SENDERS: usize = 8;

/// The ear for one worker, and what came in by it.
#[derive(Default)]
pub struct Hearing {
    /// Gone with the worker, or where it was misused.
    pub socket: Option<NotifySocket>,
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
    pub fn new(socket: Option<NotifySocket>, uid: u32, watchdog: Watchdog) -> Hearing {
        Hearing { socket, uid, watchdog, ..Hearing::default() }
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
    uid: u32,
    strangers: u32,
    said_ready: bool,
    watchdog: Watchdog,
    report: Report,
}

impl Hearing {
    pub fn save(&self, luggage: &mut Luggage) -> SavedHearing {
        let Hearing { socket, uid, strangers, senders: _, passed: _, said_ready, watchdog, report } = self;
        SavedHearing {
            socket: socket.as_ref().map(|socket| socket.save(luggage)),
            uid: *uid,
            strangers: *strangers,
            said_ready: *said_ready,
            watchdog: *watchdog,
            report: report.clone(),
        }
    }

    pub fn restore(saved: SavedHearing, inherited: &Inherited) -> Hearing {
        let SavedHearing { socket, uid, strangers, said_ready, watchdog, report } = saved;
        let socket = socket.map(|socket| NotifySocket::restore(socket, inherited));
        Hearing { socket, uid, strangers, said_ready, watchdog, report, ..Hearing::default() }
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

/// The last that it said of its work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Report {
    pub status: String,
    pub jobs: Option<u64>,
    pub failed: Option<u64>,
    pub busy: Option<u64>,
    pub job: String,
    /// Since when it has been busy with that job, or busy at all.
    pub since: Option<u64>,
    /// It has not been passed on.
    news: bool,
    /// When it was last, and when it will be again.
    told: Option<u64>,
    planned: bool,
}

impl Report {
    /// Takes what is new in it.
    pub fn take(&mut self, said: Said, now: u64) {
        let before = self.clone();
        if let Some(status) = said.status {
            self.status = status;
        }
        (self.jobs, self.failed) = (said.jobs.or(self.jobs), said.failed.or(self.failed));
        self.busy = said.busy.or(self.busy);
        match said.job {
            Some(job) => self.job = job,
            None if said.busy == Some(0) => self.job.clear(),
            None => {}
        }
        let works = !self.job.is_empty() || self.busy.is_some_and(|busy| busy > 0);
        // Of jobs without a name one more that is done means another one now: messages between may have been lost.
        let same = before.job == self.job && (!self.job.is_empty() || before.jobs == self.jobs);
        self.since = before.since.filter(|_| same).or(Some(now)).filter(|_| works);
        self.news |= before != *self;
    }

    /// When it may be passed on, if there is news and no appointment for it yet.
    pub fn due(&mut self, now: u64) -> Option<u64> {
        let due = self.news && !self.planned;
        self.planned |= due;
        due.then(|| self.told.map_or(now, |told| now.max(told + PAUSE)))
    }

    /// Whether anything was ever passed on.
    pub fn was_told(&self) -> bool {
        self.told.is_some()
    }

    /// Whether there is news; there is none afterwards.
    pub fn passed_on(&mut self, now: u64) -> bool {
        self.planned = false;
        let news = std::mem::take(&mut self.news);
        if news {
            self.told = Some(now);
        }
        news
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
    fn a_report_is_passed_on_at_once_and_then_a_few_times_a_second() {
        let mut report = Report::default();
        let mut told = Vec::new();
        let mut alarm = None;
        // A message every millisecond, for two seconds.
        for at in (0..2_000).map(|ms| ms * MILLISECOND) {
            if alarm.is_some_and(|alarm| alarm <= at) && report.passed_on(at) {
                told.push(report.jobs.unwrap());
                alarm = None;
            }
            report.take(said(&format!("X_PROCQ_JOBS={}", at / MILLISECOND + 1)), at);
            alarm = report.due(at).or(alarm);
            if alarm == Some(at) && report.passed_on(at) {
                told.push(report.jobs.unwrap());
                alarm = None;
            }
        }
        assert_eq!(told[0], 1, "the first one at once");
        assert!(told.len() <= 8, "{told:?}");
        assert!(report.passed_on(2_000 * MILLISECOND) && report.jobs == Some(2_000), "the last one at the end");
        assert!(!report.passed_on(2_001 * MILLISECOND), "no news");
    }

    #[test]
    fn what_says_the_same_is_no_news() {
        let mut report = Report::default();
        report.take(said("STATUS=a\nX_PROCQ_BUSY=1"), 5);
        assert!(report.passed_on(5));
        report.take(said("STATUS=a\nX_PROCQ_BUSY=1\nREADY=1"), 6);
        assert_eq!((report.due(6), report.since), (None, Some(5)));
    }

    #[test]
    fn of_jobs_without_a_name_each_begins_with_the_end_of_the_one_before() {
        let mut report = Report::default();
        report.take(said("X_PROCQ_JOBS=0\nX_PROCQ_BUSY=1"), 1);
        report.take(said("X_PROCQ_BUSY=1"), 2);
        assert_eq!(report.since, Some(1));
        // That it was idle in between did not arrive.
        report.take(said("X_PROCQ_JOBS=1\nX_PROCQ_BUSY=1"), 3);
        assert_eq!(report.since, Some(3));
    }

    #[test]
    fn a_long_job_with_a_name_stays_while_others_come_and_go() {
        let mut report = Report::default();
        report.take(said("X_PROCQ_JOBS=0\nX_PROCQ_BUSY=2\nX_PROCQ_JOB=7 slow"), 1);
        report.take(said("X_PROCQ_JOBS=9\nX_PROCQ_BUSY=2\nX_PROCQ_JOB=7 slow"), 9);
        assert_eq!(report.since, Some(1));
        report.take(said("X_PROCQ_BUSY=1"), 10);
        assert_eq!((report.since, &*report.job), (Some(1), "7 slow"));
        report.take(said("X_PROCQ_BUSY=0"), 11);
        assert_eq!((report.since, &*report.job), (None, ""));
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
