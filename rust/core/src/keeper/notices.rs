//! Hearing what workers say of themselves through `NOTIFY_SOCKET` and `PROCQ_NOTIFY_FD`.
//!
//! Each generation has a socket of its own, made before it is started and closed when nothing of it is left: what arrives there is about
//! nobody else. Only its own processes are believed (docs/adr/0017). So it is with the stream that it inherits.

use super::hearing::{Hearing, Watchdog};
use super::stopping::descends_from;
use super::token::Token;
use super::wire::{Heard, Wire, NUMBER};
use super::Keeper;
use crate::notify::Said;
use crate::proto::messages::{Spawn, Stage};
use crate::sys::{self, process, Interest, NotifySocket, Sender, SpawnError};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Messages taken from one worker before the others get their turn: more than the kernel lets wait by default.
const TURN: u32 = 32;
/// Messages taken from a worker that has ended: as many as can wait.
const LAST: u32 = 512;
/// What is said to a worker.
const PARK: &str = "PARK\n";
const RESUME: &str = "RESUME\n";
/// Variables that are about the program above, or that we set.
const VARIABLES: [&[u8]; 5] =
    [b"NOTIFY_SOCKET=", b"PROCQ_NOTIFY_FD=", b"PROCQ_PARKED=", b"WATCHDOG_USEC=", b"WATCHDOG_PID="];

/// Whether a variable of the environment that was asked for is passed on.
pub(super) fn is_passed_on(variable: &[u8]) -> bool {
    !VARIABLES.iter().any(|name| variable.starts_with(name))
}

impl Hearing {
    /// Makes the ears of a worker that is about to start, and the end of the stream that it inherits. A health command has none.
    pub fn open(spawn: &Spawn, instance: u64) -> Result<(Hearing, Option<OwnedFd>), SpawnError> {
        let failed = |source| SpawnError { stage: Stage::Streams, source };
        let uid = spawn.user.as_ref().map_or_else(sys::own_uid, |user| user.uid);
        let watchdog = Watchdog::of(spawn.watchdog);
        if spawn.probe.is_some() {
            return Ok((Hearing::new(None, uid, watchdog), None));
        }
        let name = format!("procq/{instance:x}/{}/{:016x}", spawn.generation, random());
        let socket = NotifySocket::bind(name).map_err(failed)?;
        let (wire, theirs) = Wire::pair().map_err(failed)?;
        let mut hearing = Hearing::new(Some((socket, wire)), uid, watchdog);
        hearing.told_to_park = spawn.parked.then(sys::monotonic);
        Ok((hearing, Some(theirs)))
    }

    /// What the worker finds in its environment. Not WATCHDOG_PID: a child of the leader may be the one that works.
    pub fn variables(&self) -> impl Iterator<Item = String> + '_ {
        let socket = self.socket.iter().map(|socket| format!("NOTIFY_SOCKET={}", socket.address()));
        let wire = self.wire.iter().map(|_| format!("PROCQ_NOTIFY_FD={NUMBER}"));
        let patience = self.watchdog.patience.iter().map(|patience| format!("WATCHDOG_USEC={}", patience / 1_000));
        let parked = self.told_to_park.iter().map(|_| "PROCQ_PARKED=1".to_owned());
        socket.chain(wire).chain(patience).chain(parked)
    }
}

impl Keeper {
    /// Something has been said to a worker's socket.
    pub(super) fn hear(&mut self, generation: u64) {
        self.hear_some(generation, TURN);
    }

    /// Takes what an ended worker has left.
    pub(super) fn hear_last(&mut self, generation: u64) {
        self.hear_some(generation, LAST);
        self.hear_wire(generation, LAST);
        self.tell_report(generation);
    }

    /// Something has come through the stream that a worker has inherited.
    pub(super) fn hear_stream(&mut self, generation: u64) {
        self.hear_wire(generation, TURN);
    }

    fn hear_wire(&mut self, generation: u64, most: u32) {
        self.exec_reported(generation);
        for _ in 0..most {
            let Some(wire) = self.workers.get_mut(&generation).and_then(|worker| worker.hearing.wire.as_mut()) else {
                return;
            };
            match wire.receive(&mut self.buffer) {
                Ok(Heard { lines, sender, descriptors }) => {
                    if !descriptors.is_empty() && !self.put_away(generation, descriptors, true) {
                        return;
                    }
                    self.heed_worker(generation, &Said::parse(&lines), sender.unwrap_or(0));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.close_wire(generation),
            }
        }
    }

    fn hear_some(&mut self, generation: u64, most: u32) {
        // Who speaks has executed: that is told first.
        self.exec_reported(generation);
        for _ in 0..most {
            let Some(socket) = self.workers.get(&generation).and_then(|worker| worker.hearing.socket.as_ref()) else {
                return;
            };
            let (said, sender, from, descriptors) = match socket.receive(&mut self.buffer) {
                Ok(notice) if notice.cut => (None, notice.sender, None, notice.descriptors),
                Ok(notice) => (Some(Said::parse(notice.text)), notice.sender, notice.from, notice.descriptors),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let believed = sender.as_ref().is_some_and(|sender| self.believes(generation, sender));
            if !descriptors.is_empty() && !self.put_away(generation, descriptors, believed) {
                return;
            }
            if !believed {
                self.heard_stranger(generation, sender.as_ref());
            } else if let Some(said) = said {
                let sender = sender.map_or(0, |sender| sender.pid);
                self.heed_worker(generation, &said, sender);
                if let Some(parked) = said.parked.filter(|_| said.own) {
                    self.heed_listener(generation, sender, &from.unwrap_or_default(), parked);
                }
            }
        }
    }

    /// What a barrier waits for is closed; and nothing is stored here. False where too much of it does not close.
    fn put_away(&mut self, generation: u64, descriptors: Vec<OwnedFd>, believed: bool) -> bool {
        let Some(worker) = self.workers.get_mut(&generation) else { return false };
        if believed {
            if !self.closer.close(descriptors, &worker.hearing.passed) {
                self.stop_hearing(generation, "passes descriptors that do not close");
                return false;
            }
        } else if !self.strangers.close(descriptors, &self.passed_by_strangers)
            && !worker.hearing.socket.as_ref().is_some_and(NotifySocket::refuse_descriptors)
        {
            self.stop_hearing(
                generation,
                "gets descriptors that do not close from strangers, and this kernel cannot refuse them",
            );
            return false;
        }
        true
    }

    /// Whether the sender belongs to this worker's tree. One who has gone cannot be looked at any more: he must have been the same user.
    /// Anybody can give himself the mark of a worker, but nobody can be born below us.
    fn believes(&mut self, generation: u64, sender: &Sender) -> bool {
        let Some(worker) = self.workers.get(&generation) else { return false };
        // The leader keeps its number until we reap it.
        if worker.leader.is_some() && sender.pid == worker.pid || worker.hearing.knows(sender.pid, self.now) {
            return true;
        }
        let leader = worker.leader.as_ref().map(|leader| leader.pid());
        let us = sys::own_pid();
        let ours = || us == 1 || descends_from(sender.pid, us);
        let belongs = leader.is_some_and(|leader| descends_from(sender.pid, leader))
            || ours()
                && process::stat(sender.pid).is_some_and(|s| self.owner_of(sender.pid, s.session) == Some(generation));
        let Some(worker) = self.workers.get_mut(&generation) else { return false };
        if !sender.keeps_his_number() {
            return sender.uid == worker.hearing.uid;
        }
        if belongs {
            worker.hearing.remember(sender.pid, self.now);
        }
        belongs
    }

    fn heard_stranger(&mut self, generation: u64, sender: Option<&Sender>) {
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        worker.hearing.strangers = worker.hearing.strangers.saturating_add(1);
        if worker.hearing.strangers == 1 {
            let who = sender.map_or("a process outside its namespace".to_owned(), |sender| {
                let name = process::stat(sender.pid).map_or_else(String::new, |stat| format!(" ({})", stat.name));
                format!("process {}{name} of user {}", sender.pid, sender.uid)
            });
            let line =
                format!("{}: {who}, which is none of its own, sends to its notify socket; that is ignored", worker.id);
            self.say(&line);
        }
    }

    /// The worker does harm with it: nothing that it says counts any more.
    fn stop_hearing(&mut self, generation: u64, why: &str) {
        self.close_socket(generation);
        self.close_wire(generation);
        let Some(worker) = self.workers.get(&generation) else { return };
        let line = format!("{} {why}: procq does not listen to it any more", worker.id);
        self.say(&line);
    }

    /// Nothing is left of it that could speak.
    pub(super) fn close_hearing(&mut self, generation: u64) {
        self.hear_last(generation);
        self.close_socket(generation);
        self.close_wire(generation);
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        let parts: Vec<i32> = worker.hearing.report.processes().map(|(pid, _)| pid).collect();
        for pid in parts {
            self.part_ended(pid, generation);
        }
        self.add_up(generation);
    }

    fn close_wire(&mut self, generation: u64) {
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        if let Some(wire) = worker.hearing.wire.take() {
            self.poller.remove(wire.as_fd());
        }
    }

    /// A process that has counted for itself has ended, of whichever worker it was.
    pub(super) fn speaker_ended(&mut self, pid: i32) {
        if let Some(generation) = self.speakers.get(&pid).copied() {
            self.part_ended(pid, generation);
            self.plan_report(generation);
        }
    }

    fn part_ended(&mut self, pid: i32, generation: u64) {
        self.speakers.remove(&pid);
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        if let Some(process) = worker.hearing.report.process(pid) {
            self.poller.remove(process.as_fd());
        }
        worker.hearing.report.part_ended(pid);
    }

    /// Tells the worker to take no more jobs, or to take some again.
    pub(super) fn park(&mut self, generation: u64, parked: bool) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        worker.hearing.told_to_park = parked.then_some(now);
        let line = if parked { PARK } else { RESUME };
        if let Some(wire) = &worker.hearing.wire {
            wire.tell(line);
        }
        if let Some(socket) = &worker.hearing.socket {
            worker.hearing.report.ears().for_each(|ear| socket.tell(ear, line));
        }
    }

    /// One of its processes can be told to take no more jobs; what it is to do may have been said before.
    fn heed_listener(&mut self, generation: u64, sender: i32, ear: &[u8], parked: bool) {
        let Some(hearing) = self.workers.get_mut(&generation).map(|worker| &mut worker.hearing) else { return };
        let told = hearing.told_to_park.is_some();
        if hearing.report.listens(sender, ear, parked) && told != parked {
            if let Some(socket) = &hearing.socket {
                socket.tell(ear, if told { PARK } else { RESUME });
            }
        }
    }

    /// Nothing may wait in a socket that is closed here: to close what came with it might take for ever.
    fn close_socket(&mut self, generation: u64) {
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        let Some(socket) = worker.hearing.socket.take() else { return };
        self.poller.remove(socket.as_fd());
        socket.refuse();
        while let Ok(notice) = socket.receive(&mut self.buffer) {
            if !notice.descriptors.is_empty() {
                self.strangers.close(notice.descriptors, &self.passed_by_strangers);
            }
        }
    }

    fn heed_worker(&mut self, generation: u64, said: &Said, sender: i32) {
        let now = self.now;
        if said.ready {
            self.said_ready(generation);
        }
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        worker.hearing.watchdog.heed(said, now);
        let leader = worker.leader.is_some() && sender == worker.pid;
        if worker.hearing.report.take(said, sender, leader, now) {
            if let Some(process) = worker.hearing.report.process(sender) {
                let _ = self.poller.add(process.as_fd(), Token::Speaker(sender as u64).into(), Interest::Read);
                self.speakers.insert(sender, generation);
            }
        }
        self.look_at_watchdog(generation);
        if let Some(usec) = said.extend_usec {
            self.extend_stop(generation, usec);
        }
        self.plan_report(generation);
    }
}

/// What nobody can guess. Names of sockets can be read, so it is no secret: it keeps them apart.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
