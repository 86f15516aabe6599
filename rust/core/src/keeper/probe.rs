//! Health commands: short lives beside a worker, in no slot and in no snapshot. They run as workers do, and end with all that they
//! have started: by themselves, when their time is over, with the worker that they look at, or with everything.

use super::alarms::Alarm;
use super::Keeper;
use crate::proto::messages::{Event, Failure, Spawn, Stage, Status};
use serde::{Deserialize, Serialize};

/// Health commands at once.
const MOST: usize = 64;
/// Bytes of their output that are kept: the last ones.
const TAIL: usize = 4 << 10;
/// Stands behind the worker's name.
const SUFFIX: &str = "/health";

/// What a health command has, besides what a worker has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Probe {
    /// Milliseconds that it may take.
    timeout: u64,
    /// The generation that it looks at.
    of: Option<u64>,
    #[serde(with = "serde_bytes")]
    tail: Vec<u8>,
    timed_out: bool,
    told: bool,
}

impl Probe {
    /// Keeps the end of what it writes, both streams in the order of reading.
    pub fn take_output(&mut self, data: &[u8]) {
        self.tail.extend_from_slice(&data[data.len().saturating_sub(TAIL)..]);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }
}

impl Keeper {
    /// What a health command that is about to start has more than a worker.
    pub(super) fn probe_of(&self, spawn: &Spawn) -> Option<Box<Probe>> {
        let timeout = spawn.probe?;
        let of = self.slots.get(&looked_after(&spawn.worker)).copied();
        Some(Box::new(Probe { timeout, of, tail: Vec::new(), timed_out: false, told: false }))
    }

    /// Whether one more may run now. Said of one that may not: it has failed for a lack that passes.
    pub(super) fn may_probe(&mut self, spawn: &Spawn) -> bool {
        let may = self.probes.len() < MOST;
        if !may {
            self.no_probe(spawn, libc::EAGAIN);
        }
        may
    }

    /// It was not started, which says nothing of the worker.
    pub(super) fn no_probe(&mut self, spawn: &Spawn, errno: i32) {
        let failure = Failure { stage: Stage::Clone, errno, path: Vec::new().into(), transient: true };
        let (worker, generation) = (looked_after(&spawn.worker), spawn.generation);
        let (status, failure, output) = (None, Some(failure), String::new());
        self.emit(&Event::Probed { worker, generation, status, failure, timed_out: false, output });
    }

    /// Its time runs from now on.
    pub(super) fn probe_begins(&mut self, generation: u64) {
        let Some(probe) = self.workers.get(&generation).and_then(|worker| worker.probe.as_ref()) else { return };
        let end = self.now.saturating_add(probe.timeout.saturating_mul(1_000_000));
        self.probes.insert(generation);
        self.set_alarm(end, generation, Alarm::Probe);
    }

    /// Its time is over.
    pub(super) fn probe_timed_out(&mut self, generation: u64) {
        let Some(worker) = self.workers.get_mut(&generation).filter(|worker| worker.alive()) else { return };
        let Some(probe) = worker.probe.as_mut().filter(|probe| !probe.told) else { return };
        probe.timed_out = true;
        // Told now: what hangs in the kernel may never end.
        self.tell_probed(generation, None, None);
        self.stop(generation, None, Some(0));
    }

    /// How it ended, told once.
    pub(super) fn tell_probed(&mut self, generation: u64, status: Option<Status>, failure: Option<Failure>) {
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        let Some(probe) = worker.probe.as_mut().filter(|probe| !probe.told) else { return };
        probe.told = true;
        let (output, timed_out) = (text(&std::mem::take(&mut probe.tail)), probe.timed_out);
        let worker = looked_after(&worker.id);
        self.emit(&Event::Probed { worker, generation, status, failure, timed_out, output });
    }

    /// Nothing is left of it: nobody needs to know any more that there was one.
    pub(super) fn probe_gone(&mut self, generation: u64) {
        if self.probes.remove(&generation) {
            self.workers.remove(&generation);
        }
    }

    /// Ends the health commands of a worker that has ended; all of them where none is named.
    pub(super) fn end_probes(&mut self, of: Option<u64>) {
        let meant = |generation: &u64| {
            let probe = self.workers.get(generation).and_then(|worker| worker.probe.as_ref());
            of.is_none() || probe.is_some_and(|probe| probe.of == of)
        };
        for generation in self.probes.iter().copied().filter(meant).collect::<Vec<_>>() {
            self.stop(generation, None, Some(0));
        }
    }
}

fn looked_after(probe: &str) -> String {
    probe.strip_suffix(SUFFIX).unwrap_or(probe).to_owned()
}

/// Lines that are fit to be shown in a terminal.
fn text(output: &[u8]) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' && c != '\t' { ' ' } else { c };
    String::from_utf8_lossy(output).chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_output_is_kept() {
        let mut probe = Probe { timeout: 0, of: None, tail: Vec::new(), timed_out: false, told: false };
        probe.take_output(b"first ");
        probe.take_output(&[b'x'; TAIL - 4]);
        assert_eq!(&probe.tail[..5], b"rst x");
        assert_eq!(probe.tail.len(), TAIL);
        probe.take_output(&[&[b'y'; 2 * TAIL][..], b"last"].concat());
        assert_eq!(probe.tail, [&[b'y'; TAIL - 4][..], b"last"].concat());
    }
}
