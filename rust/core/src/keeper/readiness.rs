//! Readiness, the watchdog that begins with it, and what else a worker says of itself on its way up to the control plane.

use super::alarms::Alarm;
use super::worker::Worker;
use super::Keeper;
use crate::output::Pattern;
use crate::proto::messages::{Event, Phase, ReadyBy};

impl Keeper {
    /// What is to make it ready from now on. What it has said already counts; what it has written does not.
    pub(super) fn expect_readiness(&mut self, generation: u64, by: ReadyBy, line: Option<&str>) {
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        (worker.ready_by, worker.ready_line) = (by, line.map(str::to_owned));
        if let Some(output) = worker.output {
            let pattern = awaited(worker);
            self.output.look_for(output, pattern);
        }
        let Some(worker) = self.workers.get(&generation) else { return };
        let (executes, says) = (worker.starting.is_none() && worker.leader.is_some(), worker.hearing.said_ready);
        if by == ReadyBy::Spawned && executes || by == ReadyBy::Notify && says {
            self.became_ready(generation);
        }
    }

    /// Goes on looking for lines, after an upgrade.
    pub(super) fn await_lines(&mut self) {
        for worker in self.workers.values() {
            if let (Some(output), Some(pattern)) = (worker.output, awaited(worker)) {
                self.output.look_for(output, Some(pattern));
            }
        }
    }

    /// Its program runs.
    pub(super) fn executes(&mut self, generation: u64) {
        if self.workers.get(&generation).is_some_and(|worker| worker.ready_by == ReadyBy::Spawned) {
            // The control plane concludes it from what it was told.
            self.mark_ready(generation);
        }
    }

    /// A line of its output may have been the one that was awaited.
    pub(super) fn look_for_ready_line(&mut self, generation: u64) {
        let Some(output) = self.workers.get(&generation).and_then(|worker| worker.output) else { return };
        if self.output.take_match(output) {
            // Who writes has executed: that is told first.
            self.exec_reported(generation);
            self.became_ready(generation);
        }
    }

    /// It has said so.
    pub(super) fn said_ready(&mut self, generation: u64) {
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        worker.hearing.said_ready = true;
        if worker.ready_by == ReadyBy::Notify {
            self.became_ready(generation);
        }
    }

    fn became_ready(&mut self, generation: u64) {
        let at = self.now;
        if self.mark_ready(generation) {
            let Some(worker) = self.workers.get(&generation) else { return };
            let event = Event::Ready { worker: worker.id.clone(), generation, at };
            self.tell(generation, &event);
        }
    }

    /// Remembers that it is ready, whoever found it: the time of its watchdog runs from here. False when that was known, or is too late.
    pub(super) fn mark_ready(&mut self, generation: u64) -> bool {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&generation) else { return false };
        if worker.ready.is_some() || !matches!(worker.phase, Phase::Starting | Phase::Running) {
            return false;
        }
        worker.ready = Some(now);
        worker.hearing.watchdog.renew(now);
        self.look_at_watchdog(generation);
        true
    }

    /// Its time may be over, or may just have been set.
    pub(super) fn look_at_watchdog(&mut self, generation: u64) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        if !matches!(worker.phase, Phase::Starting | Phase::Running) {
            // It was asked to leave, which has a deadline of its own.
            return;
        }
        let watchdog = &mut worker.hearing.watchdog;
        if watchdog.expires(now) {
            if let Some(event) = worker.silence(now) {
                self.emit(&event);
            }
            return;
        }
        // Renewed a thousand times a second it still has one appointment at a time.
        let Some(due) = watchdog.due else { return };
        if watchdog.alarm.is_none_or(|alarm| alarm <= now || due < alarm) {
            watchdog.alarm = Some(due);
            self.set_alarm(due, generation, Alarm::Watchdog);
        }
    }

    /// A worker that is leaving asks for more time: it gets at most as much again as it had.
    pub(super) fn extend_stop(&mut self, generation: u64, usec: u64) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        let (Some(deadline), Some(latest)) = (worker.deadline, worker.latest) else { return };
        let wanted = now.saturating_add(usec.saturating_mul(1_000)).min(latest);
        // Not once SIGKILL is on its way.
        if now >= deadline || wanted <= deadline {
            return;
        }
        worker.deadline = Some(wanted);
        let event = Event::Stopping { worker: worker.id.clone(), generation, deadline: wanted, at: now };
        self.look_at(generation, wanted);
        self.emit(&event);
    }

    /// What it said of its work is passed on now, or when the last time is long enough ago.
    pub(super) fn plan_report(&mut self, generation: u64) {
        let (now, among) = (self.now, self.workers.len());
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        match worker.hearing.report.due(now, among) {
            Some(due) if due <= now => self.tell_report(generation),
            Some(due) => self.set_alarm(due, generation, Alarm::Report),
            None => {}
        }
    }

    /// Passes on what is new in it.
    pub(super) fn tell_report(&mut self, generation: u64) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        if worker.hearing.report.passed_on(now) {
            let event = worker.report();
            self.emit(&event);
        }
    }
}

/// The line that would make it ready.
fn awaited(worker: &Worker) -> Option<Pattern> {
    let line = worker.ready_line.as_deref().filter(|_| worker.ready_by == ReadyBy::Line && worker.ready.is_none());
    line.and_then(|line| Pattern::new(line).ok())
}
