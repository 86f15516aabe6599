//! Who belongs to which worker, once its parents are gone.
//!
//! We are a subreaper: a descendant that lost its parents becomes our child. While a leader lives, its orphans are left alone (a daemon may
//! be meant); when it has ended, they are charged to it and asked to leave. The topmost living process of what a dead leader left
//! is always a direct child of ours, so "no child of ours is charged to it" means that its tree is empty.

use super::stopping::{ask_tree, kill_with_all_below};
use super::token::Token;
use super::Keeper;
use crate::proto::messages::Event;
use crate::state::{Inherited, Luggage};
use crate::sys::process::GENERATION_BITS;
use crate::sys::{self, process, Child, Poller, SavedChild};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use std::path::PathBuf;

/// A process that was reparented to us.
pub(super) struct Orphan {
    pub child: Child,
    /// The worker it is charged to.
    pub generation: Option<u64>,
    asked: bool,
}

/// As an upgrade hands it on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedOrphan {
    child: SavedChild,
    #[serde(default)]
    generation: Option<u64>,
    #[serde(default)]
    asked: bool,
}

impl Orphan {
    pub fn save(&self, luggage: &mut Luggage) -> SavedOrphan {
        let Orphan { child, generation, asked } = self;
        SavedOrphan { child: child.save(luggage), generation: *generation, asked: *asked }
    }

    pub fn restore(saved: SavedOrphan, inherited: &Inherited) -> Orphan {
        let SavedOrphan { child, generation, asked } = saved;
        Orphan { child: Child::restore(child, inherited), generation, asked }
    }
}

/// The largest generation that a mark, and therefore a keeper, can tell apart.
pub(super) const LAST_GENERATION: u64 = (1 << GENERATION_BITS) - 1;

/// Ended children that nobody knows of, reaped before others get their turn.
const REAPED_AT_ONCE: u32 = 64;
/// Nanoseconds between two looks at our children where looking takes long, or there is no descriptor left for it.
const LONGEST_PAUSE: u64 = 20_000_000;

/// The keeper that a process is marked as coming from; none where it carries no mark, or is gone.
pub(crate) fn instance_of(pid: i32) -> Option<u64> {
    process::mark(pid).map(|mark| mark >> GENERATION_BITS)
}

impl Keeper {
    /// What a worker's tree carries in its soft RLIMIT_LOCKS.
    pub(super) fn mark_of(&self, generation: u64) -> u64 {
        (self.instance << GENERATION_BITS) | (generation & LAST_GENERATION)
    }

    /// Frees the slots whose trees have become empty, and asks the rest of the others to leave.
    pub(super) fn settle(&mut self) {
        let begun = sys::monotonic();
        if !self.unsettled || begun < self.settle_at {
            return;
        }
        self.unsettled = false;
        let complete = self.adopt_orphans();
        // Among ten thousand children one look takes milliseconds: a tenth of our time is enough for it.
        let end = sys::monotonic();
        self.settle_at = end + (9 * (end - begun)).min(LONGEST_PAUSE);
        if !complete {
            self.unsettled = true;
            self.settle_at = end + LONGEST_PAUSE;
            return;
        }
        let orphans = self.orphans_by_worker();
        for generation in self.draining.clone() {
            match orphans.get(&generation) {
                None if self.is_deserted(generation) => self.gone(generation),
                left => self.ask_rest(generation, left.map_or(&[], Vec::as_slice)),
            }
        }
    }

    /// Those of our orphans that are charged to somebody.
    pub(super) fn orphans_by_worker(&self) -> HashMap<u64, Vec<i32>> {
        let mut found: HashMap<u64, Vec<i32>> = HashMap::new();
        for (pid, orphan) in &self.orphans {
            if let Some(generation) = orphan.generation {
                found.entry(generation).or_default().push(*pid);
            }
        }
        found
    }

    /// The leader has ended, something of its tree has not: it gets TERM now, and SIGKILL when the grace period is over.
    fn ask_rest(&mut self, generation: u64, left: &[i32]) {
        let group = self.workers.get(&generation).filter(|worker| worker.group_asked).map(|worker| worker.pid);
        self.ask_members(generation, group);
        for pid in left {
            let heard = self.was_asked(generation, *pid);
            let Some(orphan) = self.orphans.get_mut(pid).filter(|orphan| !orphan.asked) else { continue };
            orphan.asked = true;
            if !heard {
                ask_tree(&orphan.child, group);
            }
        }
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        if worker.deadline.is_none() {
            let deadline = self.now.saturating_add(worker.stop.grace.saturating_mul(1_000_000));
            worker.deadline = Some(deadline);
            let event = Event::Stopping { worker: worker.id.clone(), generation, deadline, at: self.now };
            worker.latest = Some(deadline);
            self.look_at(generation, deadline);
            self.tell(generation, &event);
        }
    }

    /// Takes hold of every child of ours that nobody has taken hold of, and finds out whose it is. False if one could not be
    /// looked at, for lack of descriptors.
    pub(super) fn adopt_orphans(&mut self) -> bool {
        let Ok(children) = process::own_children() else { return false };
        let mut complete = true;
        for pid in children {
            let known = self.leaders.get(&pid).and_then(|g| self.workers.get(g)).is_some_and(|w| w.leader.is_some());
            if known || self.orphans.contains_key(&pid) || self.control.is(pid) || self.is_trial(pid) {
                continue;
            }
            // It stays where it is until we reap it.
            let (Ok(child), Some(stat)) = (Child::open(pid), process::stat(pid)) else {
                complete = false;
                continue;
            };
            let generation = self.owner_of(pid, stat.session);
            if generation.is_none() && stat.state != 'Z' {
                if self.is_of_a_dead_control_plane(pid, stat.session) {
                    kill_with_all_below(&child);
                } else {
                    self.emit(&Event::Stray { pid, name: stat.name });
                }
            }
            self.watch(child.as_fd(), Token::Orphan(pid as u64));
            self.orphans.insert(pid, Orphan { child, generation, asked: false });
        }
        complete
    }

    /// The worker a process is charged to: by its control group in T2, by its mark, then by what is easier to lose: cookie, session, output pipe.
    pub(super) fn owner_of(&self, pid: i32, session: i32) -> Option<u64> {
        let alive = |generation: &u64| self.workers.get(generation).is_some_and(|worker| worker.alive());
        let by_mark = || {
            let mark = process::mark(pid)?;
            (mark >> GENERATION_BITS == self.instance).then_some(mark & LAST_GENERATION)
        };
        let by_cookie = || {
            let ours = process::variable(pid, "PROCQ_INSTANCE")? == format!("{:x}", self.instance);
            process::variable(pid, "PROCQ_GENERATION").filter(|_| ours)?.parse().ok()
        };
        let by_session = || self.leaders.get(&session).copied();
        let by_pipe = || {
            if self.draining.is_empty() {
                return None;
            }
            let held = process::outputs_held(pid);
            self.draining.iter().copied().find(|generation| self.is_output_of(*generation, &held))
        };
        let by_group = || self.base.as_ref()?.generation_of(pid);
        let first = by_group().filter(alive).or_else(|| by_mark().filter(alive)).or_else(|| by_cookie().filter(alive));
        first.or_else(|| by_session().filter(alive)).or_else(by_pipe)
    }

    /// Ends what a control plane that has just ended had started, as far as it came to us before.
    pub(super) fn end_heirs_of_control_plane(&self) {
        let nobodys = self.orphans.values().filter(|orphan| orphan.generation.is_none());
        for Orphan { child, .. } in nobodys {
            let session = process::stat(child.pid()).map_or(0, |stat| stat.session);
            if self.is_of_a_dead_control_plane(child.pid(), session) {
                kill_with_all_below(child);
            }
        }
    }

    /// It carries the mark of control planes, and is not in the session of the one that runs: nobody waits for it any more.
    fn is_of_a_dead_control_plane(&self, pid: i32, session: i32) -> bool {
        process::mark(pid) == Some(self.mark_of(0)) && !self.control.is(session)
    }

    fn is_output_of(&self, generation: u64, held: &HashSet<PathBuf>) -> bool {
        let Some(worker) = self.workers.get(&generation).filter(|_| !held.is_empty()) else { return false };
        let mut open = worker.pipes.ends();
        open.any(|end| process::output_of(end.as_fd()).is_some_and(|output| held.contains(&output)))
    }

    /// An orphan may have ended: reap it. Its own children are ours now.
    pub(super) fn orphan_ended(&mut self, pid: i32) {
        let Some(orphan) = self.orphans.get(&pid) else { return };
        if matches!(orphan.child.reap(), Ok(None)) {
            return leave_to_tracer(&self.poller, &orphan.child);
        }
        self.poller.remove(orphan.child.as_fd());
        self.orphans.remove(&pid);
        self.unsettled = true;
    }

    /// After SIGCHLD: reaps who has ended and had no event of his own, because nobody has taken hold of him or because a tracer kept him.
    pub(super) fn reap_some(&mut self) {
        if !std::mem::take(&mut self.unreaped) {
            return;
        }
        let mut last = 0;
        for _ in 0..REAPED_AT_ONCE {
            let Some(pid) = process::peek_ended_child().filter(|pid| *pid != last) else { return };
            last = pid;
            let generation =
                self.leaders.get(&pid).copied().filter(|g| self.workers.get(g).is_some_and(|w| w.leader.is_some()));
            if let Some(generation) = generation {
                self.leader_ended(generation);
            } else if self.control.is(pid) {
                self.control_ended();
            } else if self.is_trial(pid) {
                self.hear_trial();
            } else if self.orphans.contains_key(&pid) {
                self.orphan_ended(pid);
            } else {
                let _ = Child::open(pid).and_then(|child| child.reap());
                self.unsettled = true;
            }
        }
        self.unreaped = true;
    }
}

/// A debugger holds a process that has ended. Its pidfd stays readable, which would keep us busy; SIGCHLD comes when the debugger lets go.
pub(super) fn leave_to_tracer(poller: &Poller, process: &Child) {
    if process.has_ended() {
        poller.remove(process.as_fd());
    }
}
