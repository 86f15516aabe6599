//! T2: the control group of each generation, from before its first process until nothing lives in it.
//!
//! The marks of [`super::tree`] stay in force beside it: they reach what has left its group on purpose.

use super::stopping::ask;
use super::token::Token;
use super::Keeper;
use crate::proto::messages::{Spawn, Stage};
use crate::sys::cgroup::{self, Cgroup};
use crate::sys::{process, Child, Interest, SpawnError};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Groups removed before others get their turn: each takes some 100 µs.
const REMOVED_AT_ONCE: usize = 16;

/// The group of a generation.
pub(super) struct Group {
    cgroup: Cgroup,
    /// Says when it has become empty. Open only while that is waited for.
    events: Option<OwnedFd>,
    /// Members that have been asked to leave after their leader had ended.
    asked: HashSet<i32>,
}

/// As an upgrade hands it on: whoever comes opens what it waits for anew.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedGroup {
    cgroup: Cgroup,
    #[serde(default)]
    asked: HashSet<i32>,
}

impl Group {
    pub fn save(&self) -> SavedGroup {
        let Group { cgroup, events: _, asked } = self;
        SavedGroup { cgroup: cgroup.clone(), asked: asked.clone() }
    }

    pub fn restore(saved: SavedGroup) -> Group {
        let SavedGroup { cgroup, asked } = saved;
        Group { cgroup, events: None, asked }
    }

    fn new(cgroup: Cgroup) -> Group {
        Group { cgroup, events: None, asked: HashSet::new() }
    }

    /// For the leader to be born in.
    pub fn open(&self) -> Result<OwnedFd, SpawnError> {
        self.cgroup.open().map_err(|source| SpawnError { stage: Stage::Cgroup, source })
    }

    /// Whoever has frozen it: a process that is to hear a signal must run.
    pub fn thaw(&self) {
        self.cgroup.thaw();
    }

    /// SIGKILL to all; returns who they were.
    pub fn kill(&self) -> Vec<i32> {
        let members = self.cgroup.members();
        self.cgroup.kill();
        members
    }

    /// What its queue allows the tree. Without the controllers there is nobody to hold it to that: a failure is none.
    pub fn limit(&self, memory: Option<u64>, pids: Option<u64>) {
        let _ = self.cgroup.write("memory.max", &limit(memory.map(backstop)));
        let _ = self.cgroup.write("pids.max", &limit(pids));
    }

    /// The same while its members run. Less than they have is left to the control plane, which drains and replaces: the kernel
    /// would take all it can from them at once, in our time, and then kill them.
    pub fn limit_again(&self, memory: Option<u64>, pids: Option<u64>) {
        let used = self.cgroup.read("memory.current").ok().and_then(|text| text.trim().parse::<u64>().ok());
        let fits = memory.is_none_or(|allowed| used.is_none_or(|used| used < backstop(allowed)));
        if fits {
            self.limit(memory, pids);
        } else {
            let _ = self.cgroup.write("pids.max", &limit(pids));
        }
    }

    /// Before anybody lives in it.
    fn prepare(&self, memory: Option<u64>, pids: Option<u64>) {
        // A worker is one thing: where memory is short the kernel takes all of it, and SIGKILL has one meaning.
        if self.cgroup.write("memory.oom.group", "1").is_ok() || memory.or(pids).is_some() {
            self.limit(memory, pids);
        }
    }

    /// Whether the kernel has killed the members because there was no memory left; not known, and so no, without the controller.
    pub fn was_out_of_memory(&self) -> bool {
        // Of this group alone; before Linux 5.2 of those in it too.
        let counters =
            ["memory.events.local", "memory.events"].into_iter().find_map(|file| self.cgroup.read(file).ok());
        let killed = |text: &str| text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse::<u64>().ok());
        counters.as_deref().and_then(killed).is_some_and(|killed| killed > 0)
    }

    /// TERM to every member that has not been asked yet, and is not in the process group that has.
    fn ask(&mut self, group: Option<i32>) {
        let mut members = self.cgroup.members();
        members.retain(|pid| !self.asked.contains(pid));
        let heard = |pid: i32| group.is_some() && process::stat(pid).map(|stat| stat.group) == group;
        let held = self.cgroup.hold(&members);
        held.iter().filter(|member| !heard(member.pid())).for_each(|member| ask(member, libc::SIGTERM));
        self.asked.extend(held.iter().map(Child::pid));
    }
}

/// Bytes that every group may have: what a child needs until it executes. It shares our memory until then, and whoever has no
/// memory left is killed together with all that share it.
const LEAST_MEMORY: u64 = 16 << 20;

/// A memory limit is a backstop: what its queue allows is looked after by the control plane, which drains first.
fn backstop(allowed: u64) -> u64 {
    allowed.saturating_add(allowed / 4).max(LEAST_MEMORY)
}

/// How a limit stands in a file of a group.
fn limit(value: Option<u64>) -> String {
    value.map_or_else(|| "max".to_owned(), |value| value.to_string())
}

impl Keeper {
    /// Makes the group of a generation. What keeps all groups from being made costs containment, told once, and not the worker; what
    /// is short for a moment costs an attempt.
    pub(super) fn make_group(&mut self, spawn: &Spawn) -> Result<Option<Group>, SpawnError> {
        let Some(base) = &self.base else { return Ok(None) };
        match base.make(spawn.generation) {
            Ok(cgroup) => {
                if std::mem::take(&mut self.degraded) {
                    self.say("new workers have a control group of their own again (T2)");
                }
                let group = Group::new(cgroup);
                group.prepare(spawn.memory, spawn.pids);
                Ok(Some(group))
            }
            Err(source) if super::lifecycle::is_shortage(&source) => Err(SpawnError { stage: Stage::Cgroup, source }),
            Err(error) => {
                if !std::mem::replace(&mut self.degraded, true) {
                    self.say(&format!(
                        "no control group can be made ({error}): new workers are held together by their marks alone (T1)"
                    ));
                }
                Ok(None)
            }
        }
    }

    /// Whether nothing lives in the group of a generation whose leader has ended. Where something does, its end will be heard of.
    pub(super) fn is_deserted(&mut self, generation: u64) -> bool {
        let Some(group) = self.workers.get_mut(&generation).and_then(|worker| worker.group.as_mut()) else {
            return true;
        };
        if let Some(events) = &group.events {
            return cgroup::is_populated(events.as_fd()).is_ok_and(|populated| !populated);
        }
        let events = match group.cgroup.events() {
            Ok(events) => events,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
            Err(_) => {
                // No descriptor is left: looked at again soon.
                self.unsettled = true;
                return false;
            }
        };
        if cgroup::is_populated(events.as_fd()).is_ok_and(|populated| !populated) {
            return true;
        }
        // What changes from here on has been heard of already when it is watched.
        let watched = self.poller.add(events.as_fd(), Token::Group(generation).into(), Interest::Priority);
        self.unsettled |= watched.is_err();
        group.events = Some(events);
        false
    }

    /// The group may have become empty.
    pub(super) fn group_changed(&mut self, generation: u64) {
        let group = self.workers.get(&generation).and_then(|worker| worker.group.as_ref());
        if let Some(events) = group.and_then(|group| group.events.as_ref()) {
            // Read, or the same news comes again at once.
            let _ = cgroup::is_populated(events.as_fd());
            self.unsettled = true;
        }
    }

    /// Asks those in the group of a generation whose leader has ended.
    pub(super) fn ask_members(&mut self, generation: u64, asked: Option<i32>) {
        if let Some(group) = self.workers.get_mut(&generation).and_then(|worker| worker.group.as_mut()) {
            group.thaw();
            group.ask(asked);
        }
    }

    /// Whether a process has been asked as a member of the group.
    pub(super) fn was_asked(&self, generation: u64, pid: i32) -> bool {
        let group = self.workers.get(&generation).and_then(|worker| worker.group.as_ref());
        group.is_some_and(|group| group.asked.contains(&pid))
    }

    /// The group of a generation that is gone: it goes too, in its turn.
    pub(super) fn bury(&mut self, generation: u64) {
        let Some(group) = self.workers.get_mut(&generation).and_then(|worker| worker.group.take()) else { return };
        if let Some(events) = &group.events {
            self.poller.remove(events.as_fd());
        }
        self.empty_groups.push_back(group.cgroup);
    }

    /// Removes groups that are not used any more. True when there are more.
    pub(super) fn remove_some_groups(&mut self) {
        let turn = self.empty_groups.len().min(REMOVED_AT_ONCE);
        for cgroup in self.empty_groups.drain(..turn) {
            // What somebody else has put in there stays until the end of everything.
            let _ = cgroup.remove();
        }
    }
}
