//! What the workers of each queue have done, those that are gone included: it outlives them, and the control plane.

use super::report::Work;
use super::Keeper;
use crate::proto::messages::{Event, Jobs};

/// Queues that are remembered: names are chosen by whoever writes manifests.
const MOST: usize = 100_000;

impl Keeper {
    /// A worker is gone: what it has done counts for its queue from now on.
    pub(super) fn add_up(&mut self, generation: u64) {
        let Some(worker) = self.workers.get_mut(&generation).filter(|worker| worker.probe.is_none()) else { return };
        let total = worker.hearing.report.total();
        if total.jobs.is_none() {
            return;
        }
        let queue = worker.id.rsplit_once('.').map_or(&*worker.id, |(queue, _)| queue).to_owned();
        if self.tallies.len() >= MOST && !self.tallies.contains_key(&queue) {
            return;
        }
        let tally = self.tallies.entry(queue.clone()).or_default();
        tally.add(&Work { busy: None, since: None, job: String::new(), ..total });
        let jobs = Jobs::from(&*tally);
        self.emit(&Event::Tally { queue, generation, jobs });
    }

    /// All of them, for a snapshot.
    pub(super) fn tallies(&self) -> Vec<Event> {
        let tally = |(queue, work): (&String, &Work)| Event::Tally {
            queue: queue.clone(),
            generation: 0,
            jobs: Jobs::from(work),
        };
        self.tallies.iter().map(tally).collect()
    }
}

impl From<&Work> for Jobs {
    fn from(work: &Work) -> Jobs {
        let Work { jobs, failed, retried, took_usec, took, busy: _, job: _, since: _ } = work;
        Jobs { jobs: *jobs, failed: *failed, retried: *retried, took_usec: *took_usec, took: took.clone() }
    }
}
