//! Appointments of workers, besides that of SIGKILL. One that has become void comes all the same, and changes nothing.

use super::worker::Worker;
use super::Keeper;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// Appointments kept before others get their turn.
const AT_ONCE: usize = 256;

/// What there is to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Alarm {
    /// It should have told its watchdog that all is well.
    Watchdog,
    /// What it says of itself may be passed on again.
    Report,
    /// It should have ended of its SIGKILL.
    Stuck,
    /// A health command should have ended.
    Probe,
}

impl Keeper {
    /// Makes an appointment.
    pub(super) fn set_alarm(&mut self, at: u64, generation: u64, alarm: Alarm) {
        self.alarms.push(Reverse((at, generation, alarm)));
        // Those of workers that have gone stay until their time comes, which may be far away; so do those that were put off.
        if self.alarms.len() > 8 * self.workers.len() + 64 {
            let workers = &self.workers;
            let valid = |worker: &Worker, at, alarm| {
                worker.alive() && (alarm != Alarm::Watchdog || worker.hearing.watchdog.alarm == Some(at))
            };
            self.alarms.retain(|&Reverse((at, generation, alarm))| {
                workers.get(&generation).is_some_and(|w| valid(w, at, alarm))
            });
        }
    }

    /// Keeps those that have come; a great many in several turns.
    pub(super) fn run_alarms(&mut self) {
        for _ in 0..AT_ONCE {
            let Some(&Reverse((at, generation, alarm))) = self.alarms.peek() else { return };
            if at > self.now {
                return;
            }
            self.alarms.pop();
            match alarm {
                Alarm::Watchdog => self.look_at_watchdog(generation),
                Alarm::Report => self.tell_report(generation),
                Alarm::Stuck => self.tell_stuck(generation),
                Alarm::Probe => self.probe_timed_out(generation),
            }
        }
    }

    /// When the next one comes.
    pub(super) fn next_alarm(&self) -> Option<u64> {
        self.alarms.peek().map(|Reverse((at, ..))| *at)
    }
}
