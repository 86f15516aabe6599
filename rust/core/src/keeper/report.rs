//! What a worker has said of its work, added up over those of its processes that count for themselves.
//!
//! A message without a scope is about the worker as a whole, whoever of it sends it: the last one counts. Where a process
//! says that its numbers are its own (a pool of processes, say), they are added to those of the others, and stay when it ends.

use crate::notify::Said;
use crate::state::{Inherited, Luggage};
use crate::sys::{Child, SavedChild};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Nanoseconds between two reports about one worker, and how much longer that is for each worker that there is: all of them
/// together are not to keep the control plane busy.
const PAUSE: u64 = 250_000_000;
const PAUSE_EACH: u64 = 5_000_000;
/// The same where somebody waits for what a parked worker does.
const SOON: u64 = 20_000_000;
/// Nanoseconds by which two messages about one job may differ on when it began: messages take their time.
const SAME_START: u64 = 20_000_000;
/// Processes of one worker that are known to count for themselves.
const MOST_PARTS: usize = 256;

/// Numbers of jobs; absent is what was not said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Work {
    pub jobs: Option<u64>,
    pub failed: Option<u64>,
    pub retried: Option<u64>,
    pub busy: Option<u64>,
    pub job: String,
    /// Since when it has been busy with that job, or busy at all.
    pub since: Option<u64>,
    pub took_usec: Option<u64>,
    pub took: Vec<u64>,
}

impl Work {
    /// Takes what is new in it; false if nothing is.
    fn take(&mut self, said: &Said, now: u64) -> bool {
        let (jobs, busy, since) = (self.jobs, self.busy, self.since);
        let mut news = said.jobs.is_some_and(|jobs| self.jobs.replace(jobs) != Some(jobs));
        news |= said.failed.is_some_and(|failed| self.failed.replace(failed) != Some(failed));
        news |= said.retried.is_some_and(|retried| self.retried.replace(retried) != Some(retried));
        news |= said.took_usec.is_some_and(|took| self.took_usec.replace(took) != Some(took));
        self.busy = said.busy.or(self.busy);
        if let Some(took) = said.took.as_ref().filter(|took| **took != self.took) {
            self.took.clone_from(took);
            news = true;
        }
        let mut same_job = true;
        match &said.job {
            // Lines that come together may tell of a job that is over by the last of them.
            _ if said.busy == Some(0) => self.job.clear(),
            Some(job) if *job != self.job => {
                self.job.clone_from(job);
                same_job = false;
            }
            _ => {}
        }
        let works = !self.job.is_empty() || self.busy.is_some_and(|busy| busy > 0);
        // Of jobs without a name one more that is done means another one now: messages between may have been lost.
        let same = same_job && (!self.job.is_empty() || jobs == self.jobs);
        let told = said.job_usec.filter(|_| !self.job.is_empty());
        let began = told.map(|usec| now.saturating_sub(usec.saturating_mul(1_000)));
        // A job that began later than the one that was known is another one of that name.
        let goes_on = |since: &u64| same && began.is_none_or(|began| began <= since.saturating_add(SAME_START));
        self.since = since.filter(goes_on).or(began).or(Some(now)).filter(|_| works);
        news || !same_job || (busy, since) != (self.busy, self.since)
    }

    pub fn add(&mut self, other: &Work) {
        let add = |mine: &mut Option<u64>, theirs: Option<u64>| {
            *mine = theirs.map_or(*mine, |theirs| Some(mine.unwrap_or(0).saturating_add(theirs)));
        };
        add(&mut self.jobs, other.jobs);
        add(&mut self.failed, other.failed);
        add(&mut self.retried, other.retried);
        add(&mut self.busy, other.busy);
        add(&mut self.took_usec, other.took_usec);
        add_counts(&mut self.took, &other.took);
        if other.since.is_some() && self.since.is_none_or(|since| other.since < Some(since)) {
            self.since = other.since;
            self.job.clone_from(&other.job);
        }
    }

    /// It does nothing any more; what it has done stays.
    fn ends(&mut self) {
        self.busy = self.busy.map(|_| 0);
        self.since = None;
        self.job.clear();
    }
}

fn add_counts(mine: &mut Vec<u64>, theirs: &[u64]) {
    mine.resize(mine.len().max(theirs.len()), 0);
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        *mine = mine.saturating_add(*theirs);
    }
}

/// A process that counts for itself.
#[derive(Debug, Default)]
struct Part {
    work: Work,
    /// Whether it takes no more jobs, and where it listens.
    parked: Option<bool>,
    ear: Vec<u8>,
    /// What of it was heard last.
    heard: Option<bool>,
    /// Until its end is seen. None of the leader: its end is that of all.
    process: Option<Child>,
    ended: bool,
}

impl Part {
    fn of(sender: i32, leader: bool) -> Part {
        let process = alive(sender).filter(|_| !leader);
        Part { ended: process.is_none() && !leader, process, ..Part::default() }
    }

    /// What it has done is told to `past`; counting begins anew.
    fn give(&mut self, past: &mut Work) {
        self.work.ends();
        past.add(&std::mem::take(&mut self.work));
    }
}

fn alive(pid: i32) -> Option<Child> {
    Child::open(pid).ok().filter(|process| !process.has_ended())
}

/// The last that a worker said of its work.
#[derive(Debug, Default)]
pub struct Report {
    pub status: String,
    /// What was said of the whole of it.
    parked: Option<bool>,
    whole: Work,
    parts: BTreeMap<i32, Part>,
    /// Of parts that are known no more.
    past: Work,
    /// It has not been passed on.
    news: bool,
    /// When it was last, and when it will be again.
    told: Option<u64>,
    planned: Option<u64>,
    /// Somebody waits for the next one.
    soon: bool,
}

impl Report {
    /// Takes what is new in a message of `sender`. True where that is a process whose end has to be watched from now on.
    pub fn take(&mut self, said: &Said, sender: i32, leader: bool, now: u64) -> bool {
        let before = self.parked();
        if let Some(status) = said.status.as_ref().filter(|status| **status != self.status) {
            self.status.clone_from(status);
            self.news = true;
        }
        let begins = said.own && self.part_begins(said, sender, leader);
        let place = match self.parts.get_mut(&sender) {
            Some(part) if said.own => Some((&mut part.work, &mut part.parked)),
            None if said.own => None,
            _ => Some((&mut self.whole, &mut self.parked)),
        };
        let news = place.is_some_and(|(work, parked)| {
            *parked = said.parked.or(*parked);
            work.take(said, now)
        });
        if let Some(part) = self.parts.get_mut(&sender).filter(|part| part.ended) {
            (part.parked, part.ear) = (None, Vec::new());
            part.work.ends();
        }
        let parked = self.parked();
        self.soon |= before != parked || news && parked == Some(true);
        self.news |= news || before != parked;
        begins
    }

    fn part_begins(&mut self, said: &Said, sender: i32, leader: bool) -> bool {
        match self.parts.get_mut(&sender) {
            None => {
                if !self.has_room() {
                    return false;
                }
                self.parts.insert(sender, Part::of(sender, leader));
            }
            // Somebody else who was given the same number; or the last words of the one who has ended.
            Some(part) if part.ended => {
                let Some(process) = alive(sender) else { return false };
                part.give(&mut self.past);
                *part = Part { process: Some(process), ..Part::default() };
            }
            // It has become another program.
            Some(part) if said.jobs < part.work.jobs && said.jobs.is_some() => {
                part.give(&mut self.past);
                return false;
            }
            Some(_) => return false,
        }
        self.parts.get(&sender).is_some_and(|part| part.process.is_some())
    }

    /// Forgets who has counted what, of one that has ended.
    fn has_room(&mut self) -> bool {
        if self.parts.len() < MOST_PARTS {
            return true;
        }
        let ended = self.parts.iter().find(|(_, part)| part.ended).map(|(pid, _)| *pid);
        ended.and_then(|pid| self.parts.remove(&pid)).is_some_and(|mut part| {
            part.give(&mut self.past);
            true
        })
    }

    /// Whether it takes no more jobs: none of its processes does. Nothing of one that cannot be told not to.
    pub fn parked(&self) -> Option<bool> {
        let said = self.parts.values().map(|part| part.parked).chain([self.parked]);
        said.flatten().reduce(|all, each| all && each)
    }

    /// Where a process listens that can be told to take no more jobs, and whether it takes some. True where either is new.
    pub fn listens(&mut self, sender: i32, ear: &[u8], parked: bool) -> bool {
        let Some(part) = self.parts.get_mut(&sender).filter(|part| !part.ended) else { return false };
        let known = part.heard == Some(parked) && part.ear == ear;
        (part.heard, part.ear) = (Some(parked), ear.to_owned());
        !known
    }

    /// All places where something listens.
    pub fn ears(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.values().map(|part| &*part.ear).filter(|ear| !ear.is_empty())
    }

    /// The process of a part, while it is watched.
    pub fn process(&self, pid: i32) -> Option<&Child> {
        self.parts.get(&pid).and_then(|part| part.process.as_ref())
    }

    /// Of all parts.
    pub fn processes(&self) -> impl Iterator<Item = (i32, &Child)> {
        self.parts.iter().filter_map(|(pid, part)| Some((*pid, part.process.as_ref()?)))
    }

    /// A part does nothing any more. What it has said last may come yet.
    pub fn part_ended(&mut self, pid: i32) {
        if let Some(part) = self.parts.get_mut(&pid) {
            *part = Part { work: std::mem::take(&mut part.work), ended: true, ..Part::default() };
            part.work.ends();
            self.news = true;
            self.soon |= self.parked() == Some(true);
        }
    }

    /// Everything added up.
    pub fn total(&self) -> Work {
        let mut total = self.past.clone();
        total.add(&self.whole);
        self.parts.values().for_each(|part| total.add(&part.work));
        total
    }

    /// When it may be passed on, if there is news and no appointment for it yet. One that is `among` many others waits longer.
    pub fn due(&mut self, now: u64, among: usize) -> Option<u64> {
        let pause = if self.soon { SOON } else { PAUSE.max(PAUSE_EACH.saturating_mul(among as u64)) };
        let at = self.told.map_or(now, |told| now.max(told + pause));
        let due = self.news && self.planned.is_none_or(|planned| at < planned);
        due.then(|| *self.planned.insert(at))
    }

    /// Whether anything was ever passed on.
    pub fn was_told(&self) -> bool {
        self.told.is_some()
    }

    /// Whether there is news; there is none afterwards.
    pub fn passed_on(&mut self, now: u64) -> bool {
        (self.planned, self.soon) = (None, false);
        let news = std::mem::take(&mut self.news);
        if news {
            self.told = Some(now);
        }
        news
    }
}

/// As an upgrade hands it on.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedReport {
    status: String,
    parked: Option<bool>,
    // Where versions before had the only numbers that there were.
    #[serde(flatten)]
    whole: Work,
    parts: Vec<SavedPart>,
    past: Work,
    news: bool,
    told: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedPart {
    pid: i32,
    work: Work,
    parked: Option<bool>,
    #[serde(with = "serde_bytes", default)]
    ear: Vec<u8>,
    process: Option<SavedChild>,
    ended: bool,
}

impl Report {
    pub fn save(&self, luggage: &mut Luggage) -> SavedReport {
        let Report { status, parked, whole, parts, past, news, told, planned: _, soon: _ } = self;
        let mut part = |(pid, part): (&i32, &Part)| SavedPart {
            pid: *pid,
            work: part.work.clone(),
            parked: part.parked,
            ear: part.ear.clone(),
            process: part.process.as_ref().map(|process| process.save(luggage)),
            ended: part.ended,
        };
        SavedReport {
            status: status.clone(),
            parked: *parked,
            whole: whole.clone(),
            parts: parts.iter().map(&mut part).collect(),
            past: past.clone(),
            news: *news,
            told: *told,
        }
    }

    pub fn restore(saved: SavedReport, inherited: &Inherited) -> Report {
        let SavedReport { status, parked, whole, parts, past, news, told } = saved;
        let part = |SavedPart { pid, work, parked, ear, process, ended }| {
            let process = process.map(|process| Child::restore(process, inherited));
            (pid, Part { work, parked, ear, heard: parked, process, ended })
        };
        Report {
            status,
            parked,
            whole,
            parts: parts.into_iter().map(part).collect(),
            past,
            news,
            told,
            planned: None,
            soon: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;
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
                told.push(report.total().jobs.unwrap());
                alarm = None;
            }
            report.take(&said(&format!("X_PROCQ_JOBS={}", at / MILLISECOND + 1)), 1, true, at);
            alarm = report.due(at, 1).or(alarm);
            if alarm == Some(at) && report.passed_on(at) {
                told.push(report.total().jobs.unwrap());
                alarm = None;
            }
        }
        assert_eq!(told[0], 1, "the first one at once");
        assert!(told.len() <= 8, "{told:?}");
        assert!(report.passed_on(2_000 * MILLISECOND) && report.total().jobs == Some(2_000), "the last one at the end");
        assert!(!report.passed_on(2_001 * MILLISECOND), "no news");
    }

    #[test]
    fn what_says_the_same_is_no_news() {
        let mut report = Report::default();
        report.take(&said("STATUS=a\nX_PROCQ_BUSY=1"), 1, true, 5);
        assert!(report.passed_on(5));
        report.take(&said("STATUS=a\nX_PROCQ_BUSY=1\nREADY=1"), 1, true, 6);
        assert_eq!((report.due(6, 1), report.total().since), (None, Some(5)));
    }

    #[test]
    fn of_jobs_without_a_name_each_begins_with_the_end_of_the_one_before() {
        let mut report = Report::default();
        report.take(&said("X_PROCQ_JOBS=0\nX_PROCQ_BUSY=1"), 1, true, 1);
        report.take(&said("X_PROCQ_BUSY=1"), 1, true, 2);
        assert_eq!(report.total().since, Some(1));
        // That it was idle in between did not arrive.
        report.take(&said("X_PROCQ_JOBS=1\nX_PROCQ_BUSY=1"), 1, true, 3);
        assert_eq!(report.total().since, Some(3));
    }

    #[test]
    fn a_long_job_with_a_name_stays_while_others_come_and_go() {
        let mut report = Report::default();
        report.take(&said("X_PROCQ_JOBS=0\nX_PROCQ_BUSY=2\nX_PROCQ_JOB=7 slow"), 1, true, 1);
        report.take(&said("X_PROCQ_JOBS=9\nX_PROCQ_BUSY=2\nX_PROCQ_JOB=7 slow"), 1, true, 9);
        assert_eq!(report.total().since, Some(1));
        report.take(&said("X_PROCQ_BUSY=1"), 1, true, 10);
        assert_eq!((report.total().since, &*report.total().job), (Some(1), "7 slow"));
        report.take(&said("X_PROCQ_BUSY=0"), 1, true, 11);
        assert_eq!((report.total().since, &*report.total().job), (None, ""));
    }

    #[test]
    fn a_job_of_the_same_name_that_began_later_is_another_one() {
        let mut report = Report::default();
        let at = |jobs: u64, usec: u64| {
            said(&format!("X_PROCQ_JOBS={jobs}\nX_PROCQ_BUSY=1\nX_PROCQ_JOB=import\nX_PROCQ_JOB_USEC={usec}"))
        };
        report.take(&at(0, 2_000), 1, true, 100 * MILLISECOND);
        assert_eq!(report.total().since, Some(98 * MILLISECOND));
        report.take(&at(0, 501_000), 1, true, 600 * MILLISECOND);
        assert_eq!(report.total().since, Some(98 * MILLISECOND), "a message that was a millisecond faster");
        report.take(&at(1, 4_000), 1, true, 700 * MILLISECOND);
        assert_eq!(report.total().since, Some(696 * MILLISECOND), "its end and the next beginning came in one message");
    }

    #[test]
    fn a_job_that_begins_and_ends_in_one_message_is_over() {
        let mut report = Report::default();
        report.take(&said("X_PROCQ_BUSY=1\nX_PROCQ_JOB=a\nX_PROCQ_JOBS=1\nX_PROCQ_BUSY=0"), 1, true, 1);
        let total = report.total();
        assert_eq!((total.jobs, total.busy, &*total.job, total.since), (Some(1), Some(0), "", None));
    }

    #[test]
    fn among_many_workers_each_is_told_of_less_often() {
        let mut report = Report::default();
        report.take(&said("X_PROCQ_JOBS=1"), 1, true, 0);
        assert_eq!(report.due(0, 1_000), Some(0));
        assert!(report.passed_on(0));
        report.take(&said("X_PROCQ_JOBS=2"), 1, true, 1);
        assert_eq!(report.due(1, 1_000), Some(5_000 * MILLISECOND));
    }

    #[test]
    fn what_a_parked_worker_does_is_told_at_once() {
        let mut report = Report::default();
        report.take(&said("X_PROCQ_BUSY=1\nX_PROCQ_PARKED=0"), 1, true, 0);
        assert_eq!(report.due(0, 1), Some(0));
        assert!(report.passed_on(0));
        report.take(&said("X_PROCQ_JOBS=7"), 1, true, 30 * MILLISECOND);
        assert_eq!(report.due(30 * MILLISECOND, 1), Some(250 * MILLISECOND));
        report.take(&said("X_PROCQ_PARKED=1"), 1, true, 31 * MILLISECOND);
        assert_eq!(report.due(31 * MILLISECOND, 1), Some(31 * MILLISECOND), "an earlier appointment");
        assert!(report.passed_on(31 * MILLISECOND));
        report.take(&said("X_PROCQ_BUSY=0"), 1, true, 32 * MILLISECOND);
        assert_eq!(report.due(32 * MILLISECOND, 1), Some(51 * MILLISECOND), "but not a thousand times a second");
        assert_eq!((report.parked(), report.total().busy), (Some(true), Some(0)));
    }

    /// A process of our own, for as long as it is wanted.
    fn child() -> Child {
        // SAFETY: the child makes system calls only.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: it waits for its end.
                unsafe { libc::pause() };
            },
            pid => Child::open(pid).unwrap(),
        }
    }

    fn end(child: &Child) {
        child.signal(libc::SIGKILL);
        child.wait().unwrap();
    }

    #[test]
    fn processes_that_count_for_themselves_are_added_up_and_stay_when_they_end() {
        let (first, second) = (child(), child());
        let mut report = Report::default();
        let own = |text: &str| said(&format!("{text}\nX_PROCQ_SCOPE=process"));
        report.take(&said("X_PROCQ_JOBS=100"), sys::own_pid(), true, 0);
        assert!(report.take(
            &own("X_PROCQ_JOBS=2\nX_PROCQ_FAILED=1\nX_PROCQ_BUSY=1\nX_PROCQ_JOB=a"),
            first.pid(),
            false,
            5
        ));
        assert!(!report.take(&own("X_PROCQ_JOBS=3\nX_PROCQ_TOOK=1,2"), first.pid(), false, 6), "it is watched already");
        assert!(report.take(&own("X_PROCQ_JOBS=10\nX_PROCQ_BUSY=2\nX_PROCQ_TOOK=0,0,5"), second.pid(), false, 7));
        let total = report.total();
        assert_eq!((total.jobs, total.failed, total.busy), (Some(113), Some(1), Some(3)));
        assert_eq!((&*total.job, total.since, &*total.took), ("a", Some(5), &[1, 2, 5][..]));
        end(&first);
        report.part_ended(first.pid());
        assert_eq!((report.total().jobs, report.total().busy, report.total().since), (Some(113), Some(2), Some(7)));
        // What it said last may come after its end.
        assert!(!report.take(&own("X_PROCQ_JOBS=4\nX_PROCQ_BUSY=1"), first.pid(), false, 8));
        assert_eq!((report.total().jobs, report.total().busy), (Some(114), Some(2)));
        end(&second);
    }

    #[test]
    fn a_worker_is_parked_when_all_its_processes_are() {
        let (first, second) = (child(), child());
        let mut report = Report::default();
        assert_eq!(report.parked(), None);
        let own = |text: &str| said(&format!("{text}\nX_PROCQ_SCOPE=process"));
        report.take(&own("X_PROCQ_JOBS=0"), first.pid(), false, 0);
        assert_eq!(report.parked(), None, "it has not said that it can be");
        report.take(&own("X_PROCQ_PARKED=1"), first.pid(), false, 0);
        assert_eq!(report.parked(), Some(true));
        report.take(&own("X_PROCQ_PARKED=0"), second.pid(), false, 0);
        assert_eq!(report.parked(), Some(false));
        assert!(report.listens(second.pid(), b"2", false) && !report.listens(second.pid(), b"2", false));
        assert!(report.listens(second.pid(), b"2", true), "it has changed");
        assert!(report.listens(first.pid(), b"1", true));
        assert_eq!(report.ears().count(), 2);
        report.part_ended(second.pid());
        assert_eq!((report.parked(), report.ears().next()), (Some(true), Some(&b"1"[..])));
        end(&first);
        end(&second);
    }

    #[test]
    fn who_begins_to_count_anew_loses_nothing() {
        let process = child();
        let mut report = Report::default();
        for jobs in [1, 2, 3, 0, 1] {
            report.take(&said(&format!("X_PROCQ_JOBS={jobs}\nX_PROCQ_SCOPE=process")), process.pid(), false, 0);
        }
        assert_eq!(report.total().jobs, Some(4));
        end(&process);
    }

    #[test]
    fn who_ends_before_he_is_heard_counts() {
        let process = child();
        end(&process);
        let mut report = Report::default();
        for jobs in [1, 2] {
            let text = format!("X_PROCQ_JOBS={jobs}\nX_PROCQ_BUSY=1\nX_PROCQ_SCOPE=process");
            assert!(!report.take(&said(&text), process.pid(), false, 0));
        }
        assert_eq!((report.total().jobs, report.total().busy), (Some(2), Some(0)));
    }

    #[test]
    fn a_great_many_processes_are_told_of_by_their_sum() {
        let mut report = Report::default();
        let gone = child();
        end(&gone);
        // Numbers that nobody has, one after the other.
        for n in 0..3 * MOST_PARTS as i32 {
            report.take(&said("X_PROCQ_JOBS=1\nX_PROCQ_SCOPE=process"), i32::MAX - n, false, 0);
        }
        assert!(report.parts.len() <= MOST_PARTS);
        assert_eq!(report.total().jobs, Some(3 * MOST_PARTS as u64));
    }

    proptest! {
        /// Whatever is said, an upgrade hands on the same numbers.
        #[test]
        fn what_an_upgrade_hands_on_is_the_same(texts in proptest::collection::vec(
            ("(X_PROCQ_(JOBS|FAILED|RETRIED|BUSY|TOOK_USEC|PARKED)=[0-9]{1,3}\n){0,4}(X_PROCQ_SCOPE=process\n)?", 1..4_i32), 0..20,
        )) {
            let mut report = Report::default();
            for (text, sender) in texts {
                report.take(&said(&text), i32::MAX - sender, false, 3);
            }
            let mut luggage = Luggage::default();
            let bytes = crate::state::encode(&report.save(&mut luggage)).unwrap();
            let inherited = Inherited::pretended(&[]);
            let restored = Report::restore(crate::state::decode(&bytes).unwrap(), &inherited);
            prop_assert_eq!(report.total(), restored.total());
            prop_assert_eq!(report.parked(), restored.parked());
        }
    }
}
