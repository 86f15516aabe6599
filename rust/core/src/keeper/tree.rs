//! Who belongs to which worker, once its parents are gone.
//!
//! We are a subreaper: a descendant that lost its parents becomes our child. While a leader lives, its orphans are left alone (a daemon may
//! be meant); when it has ended, they are charged to it and asked to leave. The topmost living process of what a dead leader left
//! is always a direct child of ours, so "no child of ours is charged to it" means that its tree is empty.

use super::stopping::ask_tree;
use super::token::Token;
use super::worker::STREAMS;
use super::Keeper;
use crate::proto::messages::Event;
use crate::sys::{self, process, Child};
use std::cmp::Reverse;
use std::os::fd::AsFd;

/// A process that was reparented to us.
pub(super) struct Orphan {
    pub child: Child,
    /// The worker it is charged to.
    pub generation: Option<u64>,
    asked: bool,
}

/// Bits of the mark that carry the generation; the rest carry the instance.
const GENERATION_BITS: u32 = 33;

impl Keeper {
    /// What a worker's tree carries in its soft RLIMIT_LOCKS.
    pub(super) fn mark_of(&self, generation: u64) -> u64 {
        (self.instance << GENERATION_BITS) | (generation & ((1 << GENERATION_BITS) - 1))
    }

    /// Frees the slots whose trees have become empty, and asks the rest of the others to leave.
    pub(super) fn settle(&mut self) {
        if !std::mem::take(&mut self.unsettled) {
            return;
        }
        self.adopt_orphans();
        for generation in self.draining.clone() {
            if self.orphans.values().any(|orphan| orphan.generation == Some(generation)) {
                self.ask_rest(generation);
            } else {
                self.gone(generation);
            }
        }
    }

    /// The leader has ended, something of its tree has not: it gets TERM now, and SIGKILL when the grace period is over.
    fn ask_rest(&mut self, generation: u64) {
        for orphan in self.orphans.values_mut().filter(|orphan| orphan.generation == Some(generation) && !orphan.asked)
        {
            orphan.asked = true;
            ask_tree(&orphan.child);
        }
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        if worker.deadline.is_none() {
            let deadline = self.now + worker.stop.grace * 1_000_000;
            worker.deadline = Some(deadline);
            self.timers.push(Reverse((deadline, generation)));
            let event = Event::Stopping { worker: worker.id.clone(), generation, deadline, at: self.now };
            self.emit(&event);
        }
    }

    /// Takes hold of every child of ours that nobody has taken hold of, and finds out whose it is.
    pub(super) fn adopt_orphans(&mut self) {
        for pid in process::own_children() {
            let known = self.leaders.get(&pid).and_then(|g| self.workers.get(g)).is_some_and(|w| w.leader.is_some());
            if known || self.orphans.contains_key(&pid) || self.control.is(pid) {
                continue;
            }
            let Ok(child) = Child::open(pid) else { continue };
            let Some(stat) = process::stat(pid).filter(|stat| stat.parent == sys::own_pid()) else { continue };
            let generation = self.owner_of(pid, stat.session);
            if generation.is_none() && stat.state != 'Z' {
                self.emit(&Event::Stray { pid, name: stat.name });
            }
            self.watch(child.as_fd(), Token::Orphan(pid as u64));
            self.orphans.insert(pid, Orphan { child, generation, asked: false });
        }
    }

    /// The worker a process is charged to: by its mark, then by what is easier to lose: cookie, session, output pipe.
    fn owner_of(&self, pid: i32, session: i32) -> Option<u64> {
        let alive = |generation: &u64| self.workers.get(generation).is_some_and(|worker| worker.alive());
        let by_mark = || {
            let mark = process::mark(pid)?;
            (mark >> GENERATION_BITS == self.instance).then_some(mark & ((1 << GENERATION_BITS) - 1))
        };
        let by_cookie = || {
            let ours = process::variable(pid, "PROCQ_INSTANCE")? == format!("{:x}", self.instance);
            process::variable(pid, "PROCQ_GENERATION").filter(|_| ours)?.parse().ok()
        };
        let by_session = || self.leaders.get(&session).copied();
        let by_pipe = || self.draining.iter().copied().find(|generation| self.holds_output_of(pid, *generation));
        let first = by_mark().filter(alive).or_else(|| by_cookie().filter(alive));
        first.or_else(|| by_session().filter(alive)).or_else(by_pipe)
    }

    fn holds_output_of(&self, pid: i32, generation: u64) -> bool {
        let Some(worker) = self.workers.get(&generation) else { return false };
        let mut open = STREAMS.iter().filter_map(|stream| worker.pipes.get(*stream));
        open.any(|pipe| process::holds_pipe(pid, process::pipe_inode(pipe.as_fd())))
    }

    /// An orphan may have ended: reap it. Its own children are ours now.
    pub(super) fn orphan_ended(&mut self, pid: i32) {
        let ended = self.orphans.get(&pid).is_some_and(|orphan| !matches!(orphan.child.reap(), Ok(None)));
        if ended {
            if let Some(orphan) = self.orphans.remove(&pid) {
                self.poller.remove(orphan.child.as_fd());
            }
            self.unsettled = true;
        }
    }

    /// SIGCHLD: reaps whoever has ended, those that nobody has taken hold of included.
    pub(super) fn reap_all(&mut self) {
        let mut last = 0;
        while let Some(pid) = process::peek_ended_child().filter(|pid| *pid != last) {
            last = pid;
            let generation =
                self.leaders.get(&pid).copied().filter(|g| self.workers.get(g).is_some_and(|w| w.leader.is_some()));
            if let Some(generation) = generation {
                self.leader_ended(generation);
            } else if self.control.is(pid) {
                self.control_ended();
            } else if self.orphans.contains_key(&pid) {
                self.orphan_ended(pid);
            } else {
                let _ = Child::open(pid).and_then(|child| child.reap());
                self.unsettled = true;
            }
        }
    }
}
