//! What does not end even of SIGKILL: it waits in the kernel, or a debugger keeps it.

use super::alarms::Alarm;
use super::Keeper;
use crate::proto::messages::Event;
use crate::sys::process;

/// Nanoseconds after SIGKILL from which on what has not ended is said to be stuck, and holds up no other wave.
pub(super) const STUCK: u64 = 5_000_000_000;

impl Keeper {
    /// SIGKILL has gone to it for the first time: in a while nothing of it should be left.
    pub(super) fn expect_end(&mut self, generation: u64) {
        self.set_alarm(self.now + STUCK, generation, Alarm::Stuck);
    }

    /// Something is left. Told once; its end is told as any other.
    pub(super) fn tell_stuck(&mut self, generation: u64) {
        let is_there = self.workers.get(&generation).is_some_and(|w| w.alive() && w.probe.is_none());
        if !is_there {
            return;
        }
        let Some(what) = self.what_hangs(generation) else {
            // Between two lives: the parent has just ended, the child is not ours yet.
            return self.expect_end(generation);
        };
        let at = self.now;
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        let event = Event::Stuck { worker: worker.id.clone(), generation, what, at };
        worker.stuck = Some(event.clone());
        self.emit(&event);
    }

    /// Says what is left behind, at the end of everything.
    pub(super) fn name_the_stuck(&mut self) {
        let left: Vec<u64> = self.workers.values().filter(|w| w.counts()).map(|w| w.generation).collect();
        for generation in left {
            let Some(what) = self.what_hangs(generation) else { continue };
            let id = self.workers.get(&generation).map_or("", |worker| &worker.id);
            let line = format!("{id} does not end even by SIGKILL, and is left behind: {what}");
            self.say(&line);
        }
    }

    fn what_hangs(&self, generation: u64) -> Option<String> {
        let (pid, stat) = self.hanging(generation)?;
        let place = process::wait_channel(pid).map_or_else(String::new, |name| format!(" in {name}"));
        Some(match stat.state {
            'Z' | 'X' => format!("process {pid} ({}) has ended, and its tracer does not let go of it", stat.name),
            state => format!("process {pid} ({}) is in state {state}{place}", stat.name),
        })
    }

    /// The process of this tree that most likely keeps it: one that waits in the kernel; else one that runs; else a zombie that its tracer keeps.
    fn hanging(&self, generation: u64) -> Option<(i32, process::Stat)> {
        let leader = self.workers.get(&generation)?.leader.as_ref().map(|leader| leader.pid());
        let orphans = self.orphans_by_worker().remove(&generation).unwrap_or_default();
        let all = leader.into_iter().chain(orphans).flat_map(process::tree);
        let found = all.filter_map(|pid| Some((pid, process::stat(pid)?)));
        found.min_by_key(|(_, stat)| match stat.state {
            'D' => 0,
            'Z' | 'X' => 2,
            _ => 1,
        })
    }
}
