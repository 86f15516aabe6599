//! From spawn to gone.

use super::groups::Group;
use super::hearing::Hearing;
use super::notices::is_passed_on;
use super::stopping::FIRST_PAUSE;
use super::token::Token;
use super::tree::LAST_GENERATION;
use super::worker::{Pipes, Worker, STREAMS};
use super::Keeper;
use crate::pattern::compile;
use crate::proto::messages::{Event, Failure, Phase, ReadyBy, Spawn, Stage, Status, StopPolicy};
use crate::sys::{self, Child, Exit, Image, Interest, SpawnError, Starting, Verdict};
use serde_bytes::ByteBuf;
use std::collections::HashSet;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a spawn leaves in the parent.
pub(super) struct Launched {
    pub child: Child,
    pub starting: Starting,
    pub pipes: Pipes,
}

impl Keeper {
    /// Starts a worker, or says why not.
    pub(super) fn spawn(&mut self, spawn: Spawn) {
        let objection = self.objection(&spawn);
        // A refused number is used up as well: the next snapshot shows that nothing came of it.
        if spawn.generation <= LAST_GENERATION {
            self.last_generation = self.last_generation.max(spawn.generation);
        }
        if objection.is_some() && spawn.probe.is_some() {
            return self.no_probe(&spawn, if spawn.argv.is_empty() { libc::E2BIG } else { libc::ECANCELED });
        }
        if let Some(why) = objection {
            return self.emit(&Event::Refused { worker: spawn.worker, generation: spawn.generation, why });
        }
        let generation = spawn.generation;
        if spawn.probe.is_some() && !self.may_probe(&spawn) {
            return;
        }
        let (ready, line) = (spawn.ready, spawn.ready_line.clone());
        let (worker, launched) = self.begin(spawn);
        if worker.probe.is_none() {
            if let Some(former) = self.slots.insert(worker.id.clone(), generation) {
                self.workers.remove(&former);
            }
        }
        self.workers.insert(generation, worker);
        self.probe_begins(generation);
        self.expect_readiness(generation, ready, line.as_deref());
        match launched {
            Ok(launched) => self.launched(generation, launched),
            Err(error) => {
                let errno = error.source.raw_os_error().unwrap_or(libc::EINVAL);
                self.spawn_failed(generation, error.stage, errno, Vec::new());
            }
        }
    }

    fn objection(&self, spawn: &Spawn) -> Option<String> {
        let pattern = spawn.ready_line.as_deref().map_or(Ok(()), |line| compile(line).map(drop));
        let former = self.slots.get(&spawn.worker).and_then(|generation| self.workers.get(generation));
        if self.shutdown.is_some() {
            Some("everything is being stopped".into())
        } else if spawn.argv.is_empty() {
            Some("the command is empty".into())
        } else if spawn.limits.iter().any(|limit| limit.resource == sys::MARK) {
            Some("procq marks its workers with the limit of file locks, which kernels ignore: leave it out".into())
        } else if spawn.generation <= self.last_generation || spawn.generation > LAST_GENERATION {
            Some(format!("generation {} is not after {}", spawn.generation, self.last_generation))
        } else if let Err(why) = pattern {
            Some(format!("ready.log is no pattern: {why}"))
        } else {
            former.filter(|f| f.alive()).map(|f| format!("generation {} still holds the slot", f.generation))
        }
    }

    /// Makes what belongs to it, then the child, and the record of both.
    fn begin(&mut self, spawn: Spawn) -> (Worker, Result<Launched, SpawnError>) {
        let (mut group, mut hearing, mut wire) = (None, Hearing::default(), None);
        let launched = self
            .make_group(&spawn)
            .and_then(|made| {
                group = made;
                // Bound before the worker runs: its first word finds an ear.
                Hearing::open(&spawn, self.instance)
            })
            .and_then(|opened| {
                (hearing, wire) = opened;
                self.image(&spawn, group.as_ref(), &hearing)
            })
            .and_then(|image| {
                let inherited: Vec<BorrowedFd<'_>> = wire.iter().map(AsFd::as_fd).collect();
                self.launch(image, &inherited)
            });
        (self.record_of(spawn, group, hearing), launched)
    }

    fn image(&self, spawn: &Spawn, group: Option<&Group>, hearing: &Hearing) -> Result<Image, SpawnError> {
        let cgroup = group.map(Group::open).transpose()?;
        let text = |bytes: &ByteBuf| CString::new(bytes.to_vec());
        let asked = spawn.env.iter().filter(|variable| is_passed_on(variable)).map(text);
        let env = asked.chain(hearing.variables().map(CString::new));
        let image = move || -> Result<Image, std::ffi::NulError> {
            Ok(Image {
                argv: spawn.argv.iter().map(text).collect::<Result<_, _>>()?,
                env: env.collect::<Result<_, _>>()?,
                directory: spawn.directory.as_ref().map(text).transpose()?,
                umask: spawn.umask,
                mark: self.mark_of(spawn.generation),
                descriptors: Some(self.descriptors),
                user: spawn.user.clone(),
                nice: spawn.nice,
                limits: spawn.limits.clone(),
                terminal: spawn.tty,
                cgroup,
            })
        };
        image().map_err(|nul| SpawnError { stage: Stage::Exec, source: nul.into() })
    }

    fn record_of(&mut self, spawn: Spawn, group: Option<Group>, hearing: Hearing) -> Worker {
        let probe = self.probe_of(&spawn);
        let open = || self.output.open(&spawn.worker, spawn.generation, spawn.log.as_ref(), spawn.user.as_ref());
        let output = probe.is_none().then(open);
        // What a health command has started does not outlive it.
        let stop = if probe.is_some() { StopPolicy { grace: 0, ..spawn.stop } } else { spawn.stop };
        Worker {
            id: spawn.worker,
            generation: spawn.generation,
            fingerprint: spawn.fingerprint,
            phase: Phase::Starting,
            pid: 0,
            leader: None,
            starting: None,
            pipes: Pipes::default(),
            output,
            at: self.now,
            deadline: None,
            latest: None,
            look: None,
            pause: FIRST_PAUSE,
            stop,
            wave: spawn.wave,
            asked: false,
            group_asked: false,
            status: None,
            failure: None,
            ended: None,
            ready_by: ReadyBy::default(),
            ready_line: None,
            ready: None,
            killed: HashSet::new(),
            group,
            doomed: false,
            stuck: None,
            hearing,
            probe,
        }
    }

    /// Makes the pipes and the child, unless few descriptors are left: then the keeper needs them itself.
    pub(super) fn launch(&mut self, image: Image, extra: &[BorrowedFd<'_>]) -> Result<Launched, SpawnError> {
        if image.terminal {
            return self.launch_in_terminal(image, extra);
        }
        let failed = |source: io::Error| SpawnError { stage: Stage::Streams, source };
        let (stdout, to_stdout) = sys::pipe().map_err(failed)?;
        let (stderr, to_stderr) = sys::pipe().map_err(failed)?;
        self.leave_some(&to_stderr).map_err(failed)?;
        sys::set_nonblocking(stdout.as_fd()).map_err(failed)?;
        sys::set_nonblocking(stderr.as_fd()).map_err(failed)?;
        let streams = [self.null.as_fd(), to_stdout.as_fd(), to_stderr.as_fd()];
        let (child, starting) = self.spawner.spawn(image, streams, extra)?;
        Ok(Launched { child, starting, pipes: Pipes::new(stdout, stderr) })
    }

    /// Standard input is no terminal: nobody types, and a read would wait for ever.
    fn launch_in_terminal(&mut self, image: Image, extra: &[BorrowedFd<'_>]) -> Result<Launched, SpawnError> {
        let failed = |source: io::Error| SpawnError { stage: Stage::Terminal, source };
        let owner = image.user.as_ref().map(|user| user.uid);
        let (ours, theirs) = sys::open_terminal(sys::window_of(io::stdout().as_fd()), owner).map_err(failed)?;
        self.leave_some(&theirs).map_err(failed)?;
        sys::set_nonblocking(ours.as_fd()).map_err(failed)?;
        let streams = [self.null.as_fd(), theirs.as_fd(), theirs.as_fd()];
        let (child, starting) = self.spawner.spawn(image, streams, extra)?;
        Ok(Launched { child, starting, pipes: Pipes::terminal(ours, theirs) })
    }

    fn leave_some(&self, newest: &OwnedFd) -> io::Result<()> {
        if sys::is_scarce(newest.as_fd(), self.spare_descriptors()) {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        Ok(())
    }

    /// What workers may not take: with it trees are walked and clients are served.
    fn spare_descriptors(&self) -> u64 {
        const SPARE: u64 = 64;
        SPARE.min(sys::descriptor_limit().0 / 4)
    }

    fn launched(&mut self, generation: u64, launched: Launched) {
        let watched = self.watch_launched(generation, &launched);
        let Launched { child, starting, pipes } = launched;
        self.leaders.insert(child.pid(), generation);
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        worker.pid = child.pid();
        if watched.is_err() {
            // Nobody would read what it writes. Its end comes by SIGCHLD where its own descriptor is not watched.
            child.signal(libc::SIGKILL);
        }
        worker.leader = Some(child);
        worker.starting = Some(starting);
        worker.pipes = pipes;
        if let Err(error) = watched {
            self.spawn_failed(generation, Stage::Clone, error.raw_os_error().unwrap_or(libc::ENOMEM), Vec::new());
        }
    }

    fn watch_launched(&self, generation: u64, launched: &Launched) -> io::Result<()> {
        self.poller.add(launched.child.as_fd(), Token::Ended(generation).into(), Interest::Read)?;
        self.poller.add(launched.starting.as_fd(), Token::Starting(generation).into(), Interest::Read)?;
        for stream in STREAMS {
            if let Some(pipe) = launched.pipes.get(stream) {
                self.poller.add(pipe.as_fd(), Token::Output(generation, stream).into(), Interest::Read)?;
            }
        }
        let hearing = self.workers.get(&generation).map(|worker| &worker.hearing);
        if let Some(socket) = hearing.and_then(|hearing| hearing.socket.as_ref()) {
            self.poller.add(socket.as_fd(), Token::Notices(generation).into(), Interest::Read)?;
        }
        if let Some(wire) = hearing.and_then(|hearing| hearing.wire.as_ref()) {
            self.poller.add(wire.as_fd(), Token::Wire(generation).into(), Interest::Read)?;
        }
        Ok(())
    }

    /// Watches a descriptor for reading. Fails only for lack of kernel memory, and then the next snapshot heals what was missed.
    pub(super) fn watch(&self, fd: BorrowedFd<'_>, token: Token) {
        let _ = self.poller.add(fd, token.into(), Interest::Read);
    }

    /// The status pipe has spoken: exec has happened, or has not.
    pub(super) fn exec_reported(&mut self, generation: u64) {
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        let Some(mut starting) = worker.starting.take() else { return };
        let verdict = starting.verdict();
        if verdict == Verdict::Pending {
            worker.starting = Some(starting);
            return;
        }
        self.poller.remove(starting.as_fd());
        self.spawner.recycle(starting);
        match verdict {
            // It was killed because it could not be watched: that has been told.
            _ if worker.failure.is_some() => {}
            Verdict::Failed { stage, errno, path } => self.spawn_failed(generation, stage, errno, path),
            Verdict::Executing | Verdict::Pending => {
                if worker.phase == Phase::Starting {
                    worker.phase = Phase::Running;
                }
                let (worker, pid, at) = (worker.id.clone(), worker.pid, self.now);
                self.tell(generation, &Event::Executing { worker, generation, pid, at });
                self.executes(generation);
            }
        }
    }

    fn spawn_failed(&mut self, generation: u64, stage: Stage, errno: i32, path: Vec<u8>) {
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        let failure = Failure { stage, errno, path: path.into(), transient: is_transient(errno) };
        worker.failure = Some(failure.clone());
        worker.ended = Some(self.now);
        let (id, at) = (worker.id.clone(), self.now);
        self.tell_probed(generation, None, Some(failure.clone()));
        self.tell(generation, &Event::SpawnFailed { worker: id, generation, failure, at });
        // The child is on its way out; its end frees the slot. Without a child it is free now.
        if self.workers.get(&generation).is_some_and(|worker| worker.leader.is_none()) {
            self.gone(generation);
        }
    }

    /// The leader may have ended: reap it, take the last of its output, and see to the rest of its tree.
    pub(super) fn leader_ended(&mut self, generation: u64) {
        // Before it is reaped: it has its number still, and what it said last counts.
        self.hear_last(generation);
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        let Some(leader) = &worker.leader else { return };
        let Some(exit) = leader.reap().ok().flatten() else {
            return super::tree::leave_to_tracer(&self.poller, leader);
        };
        self.exec_reported(generation);
        STREAMS.into_iter().for_each(|stream| self.drain_last(generation, stream));
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        if let Some(leader) = worker.leader.take() {
            self.poller.remove(leader.as_fd());
        }
        worker.phase = Phase::Draining;
        let killed = exit == Exit::Signal(libc::SIGKILL);
        let oom = killed && worker.group.as_ref().is_some_and(Group::was_out_of_memory);
        let status = Status { oom, ..exit.into() };
        worker.status = Some(status);
        if worker.failure.is_none() {
            worker.ended = Some(now);
            let event = Event::Exited { worker: worker.id.clone(), generation, status, at: now };
            self.tell(generation, &event);
        }
        self.tell_probed(generation, Some(exit.into()), None);
        self.end_probes(Some(generation));
        self.draining.insert(generation);
        self.unsettled = true;
    }

    /// Nothing is left of it: the slot is free.
    pub(super) fn gone(&mut self, generation: u64) {
        self.draining.remove(&generation);
        self.close_hearing(generation);
        STREAMS.into_iter().for_each(|stream| {
            self.drain_last(generation, stream);
            self.close_stream(generation, stream);
        });
        self.bury(generation);
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        worker.phase = Phase::Gone;
        (worker.deadline, worker.look) = (None, None);
        worker.ended.get_or_insert(now);
        if self.leaders.get(&worker.pid) == Some(&generation) {
            self.leaders.remove(&worker.pid);
        }
        let (id, killed) = (worker.id.clone(), worker.killed.len() as u32);
        if let Some(output) = worker.output.take() {
            self.output.close(output);
            self.keep_last_lines(&id, generation);
        }
        let event = Event::Gone { worker: id, generation, killed, at: now };
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.killed += killed;
        }
        self.tell(generation, &event);
        self.progress = true;
        self.probe_gone(generation);
    }

    /// The control plane knows how this generation ended: its record may go.
    pub(super) fn forget(&mut self, id: &str, generation: u64) {
        if self.workers.get(&generation).is_some_and(|worker| !worker.alive()) {
            self.workers.remove(&generation);
            if self.slots.get(id) == Some(&generation) {
                self.slots.remove(id);
            }
        }
    }
}

/// A lack of descriptors or memory, which the next attempt may not meet.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::EINTR))
}

/// A lack of something that may be there in a moment, and says nothing about the command.
fn is_transient(errno: i32) -> bool {
    const LACKS: [i32; 6] = [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE, libc::ENOSPC, libc::ETXTBSY];
    LACKS.contains(&errno) || matches!(errno, libc::EINTR | libc::EIO)
}
