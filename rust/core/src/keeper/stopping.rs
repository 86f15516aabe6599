//! Asking workers to leave, and making them.

use super::Keeper;
use crate::proto::messages::{Event, Phase, StopPolicy};
use crate::sys::{process, Child};
use std::cmp::Reverse;

/// Nanoseconds between two looks at a tree that has had SIGKILL and is not empty.
const AGAIN: u64 = 20_000_000;

impl Keeper {
    /// Sends the stop signal to the leader, and sets the time of SIGKILL. A second request can only bring that time forward.
    pub(super) fn stop(&mut self, generation: u64, signal: Option<i32>, grace: Option<u64>) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        let grace = grace.unwrap_or(worker.stop.grace);
        let deadline = now.saturating_add(grace.saturating_mul(1_000_000));
        let deadline = worker.deadline.map_or(deadline, |former| former.min(deadline));
        match worker.phase {
            Phase::Gone => return,
            Phase::Starting | Phase::Running => {
                worker.phase = Phase::Stopping;
                if grace > 0 {
                    ask(worker.leader.as_ref(), signal.unwrap_or(worker.stop.signal));
                }
            }
            Phase::Stopping | Phase::Draining if worker.deadline == Some(deadline) => return,
            Phase::Stopping | Phase::Draining => {}
        }
        worker.deadline = Some(deadline);
        let id = worker.id.clone();
        self.timers.push(Reverse((deadline, generation)));
        self.emit(&Event::Stopping { worker: id, generation, deadline, at: now });
    }

    /// What can change while a worker runs.
    pub(super) fn configure(&mut self, generation: u64, stop: StopPolicy, log: Option<std::path::PathBuf>) {
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        worker.stop = stop;
        if let Some(output) = worker.output {
            self.output.configure(output, log.as_deref());
        }
    }

    /// Runs every deadline that has come.
    pub(super) fn run_timers(&mut self) {
        while let Some(&Reverse((at, generation))) = self.timers.peek() {
            if at > self.now {
                return;
            }
            self.timers.pop();
            let due = self.workers.get(&generation).and_then(|worker| worker.deadline).is_some_and(|d| d <= self.now);
            if due {
                self.kill_tree(generation);
                self.timers.push(Reverse((self.now + AGAIN, generation)));
            }
        }
    }

    /// When the next deadline comes.
    pub(super) fn next_timer(&self) -> Option<u64> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// SIGKILL to everything that belongs to this generation. What is born meanwhile falls to the next look.
    fn kill_tree(&mut self, generation: u64) {
        self.adopt_orphans();
        let Some(worker) = self.workers.get(&generation) else { return };
        let mut killed = 0;
        if let Some(leader) = &worker.leader {
            let below = descendants(leader.pid());
            if worker.leads_a_group() {
                leader.signal_group(libc::SIGKILL);
            }
            killed += u32::from(leader.signal(libc::SIGKILL));
            killed += signal_all(&below, libc::SIGKILL);
        }
        for orphan in self.orphans.values().filter(|orphan| orphan.generation == Some(generation)) {
            let below = descendants(orphan.child.pid());
            killed += u32::from(orphan.child.signal(libc::SIGKILL));
            killed += signal_all(&below, libc::SIGKILL);
        }
        if let Some(worker) = self.workers.get_mut(&generation) {
            worker.killed = worker.killed.max(killed);
        }
        self.unsettled = true;
    }
}

/// The signal, then CONT, so that a stopped process hears it.
fn ask(leader: Option<&Child>, signal: i32) {
    if let Some(leader) = leader {
        leader.signal(signal);
        leader.signal(libc::SIGCONT);
    }
}

/// TERM and CONT to a process and everything below it.
pub(super) fn ask_tree(root: &Child) {
    let below = descendants(root.pid());
    ask(Some(root), libc::SIGTERM);
    signal_all(&below, libc::SIGTERM);
    signal_all(&below, libc::SIGCONT);
}

/// Everything below an unreaped child of ours, each held by its pidfd. A number may have changed hands between
/// the walk and the hold, so the ancestry is checked once more after it.
fn descendants(root: i32) -> Vec<Child> {
    let found = process::tree(root).into_iter().skip(1);
    found.filter_map(|pid| Child::open(pid).ok()).filter(|child| descends_from(child.pid(), root)).collect()
}

fn descends_from(pid: i32, root: i32) -> bool {
    const DEEPEST: usize = 256;
    let parents = std::iter::successors(Some(pid), |pid| process::stat(*pid).map(|stat| stat.parent));
    parents.take(DEEPEST).skip(1).take_while(|pid| *pid > 1).any(|pid| pid == root)
}

fn signal_all(children: &[Child], signal: i32) -> u32 {
    children.iter().map(|child| u32::from(child.signal(signal))).sum()
}
