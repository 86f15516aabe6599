//! From spawn to gone.

use super::groups::Group;
use super::stopping::FIRST_PAUSE;
use super::token::Token;
use super::tree::LAST_GENERATION;
use super::worker::{Pipes, Worker, STREAMS};
use super::Keeper;
use crate::proto::messages::{Event, Failure, Phase, Spawn, Stage, Status};
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
        if let Some(why) = objection {
            return self.emit(&Event::Refused { worker: spawn.worker, generation: spawn.generation, why });
        }
        let generation = spawn.generation;
        let (group, launched) = match self.make_group(&spawn) {
            Ok(group) => {
                let launched = self.image(&spawn, group.as_ref()).and_then(|image| self.launch(image, &[]));
                (group, launched)
            }
            Err(error) => (None, Err(error)),
        };
        let worker = self.record_of(spawn, group);
        if let Some(former) = self.slots.insert(worker.id.clone(), generation) {
            self.workers.remove(&former);
        }
        self.workers.insert(generation, worker);
        match launched {
            Ok(launched) => self.launched(generation, launched),
            Err(error) => {
                let errno = error.source.raw_os_error().unwrap_or(libc::EINVAL);
                self.spawn_failed(generation, error.stage, errno, Vec::new());
            }
        }
    }

    fn objection(&self, spawn: &Spawn) -> Option<String> {
        let former = self.slots.get(&spawn.worker).and_then(|generation| self.workers.get(generation));
        if self.shutdown.is_some() {
            Some("everything is being stopped".into())
        } else if spawn.argv.is_empty() {
            Some("the command is empty".into())
        } else if spawn.limits.iter().any(|limit| limit.resource == sys::MARK) {
            Some("procq marks its workers with the limit of file locks, which kernels ignore: leave it out".into())
        } else if spawn.generation <= self.last_generation || spawn.generation > LAST_GENERATION {
            Some(format!("generation {} is not after {}", spawn.generation, self.last_generation))
        } else {
            former.filter(|f| f.alive()).map(|f| format!("generation {} still holds the slot", f.generation))
        }
    }

    fn image(&self, spawn: &Spawn, group: Option<&Group>) -> Result<Image, SpawnError> {
        let cgroup = group.map(Group::open).transpose()?;
        let text = |bytes: &ByteBuf| CString::new(bytes.to_vec());
        let image = move || -> Result<Image, std::ffi::NulError> {
            Ok(Image {
                argv: spawn.argv.iter().map(text).collect::<Result<_, _>>()?,
                env: spawn.env.iter().map(text).collect::<Result<_, _>>()?,
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

    fn record_of(&mut self, spawn: Spawn, group: Option<Group>) -> Worker {
        let output = self.output.open(&spawn.worker, spawn.generation, spawn.log.as_ref(), spawn.user.as_ref());
        Worker {
            id: spawn.worker,
            generation: spawn.generation,
            fingerprint: spawn.fingerprint,
            phase: Phase::Starting,
            pid: 0,
            leader: None,
            starting: None,
            pipes: Pipes::default(),
            output: Some(output),
            at: self.now,
            deadline: None,
            look: None,
            pause: FIRST_PAUSE,
            stop: spawn.stop,
            wave: spawn.wave,
            asked: false,
            group_asked: false,
            status: None,
            failure: None,
            ended: None,
            ready: None,
            killed: HashSet::new(),
            group,
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
                self.emit(&Event::Executing { worker, generation, pid, at });
            }
        }
    }

    fn spawn_failed(&mut self, generation: u64, stage: Stage, errno: i32, path: Vec<u8>) {
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        let failure = Failure { stage, errno, path: path.into(), transient: is_transient(errno) };
        worker.failure = Some(failure.clone());
        worker.ended = Some(self.now);
        let (id, at) = (worker.id.clone(), self.now);
        self.emit(&Event::SpawnFailed { worker: id, generation, failure, at });
        // The child is on its way out; its end frees the slot. Without a child it is free now.
        if self.workers.get(&generation).is_some_and(|worker| worker.leader.is_none()) {
            self.gone(generation);
        }
    }

    /// The leader may have ended: reap it, take the last of its output, and see to the rest of its tree.
    pub(super) fn leader_ended(&mut self, generation: u64) {
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
            self.emit(&event);
        }
        self.draining.insert(generation);
        self.unsettled = true;
    }

    /// Nothing is left of it: the slot is free.
    pub(super) fn gone(&mut self, generation: u64) {
        self.draining.remove(&generation);
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
        self.emit(&event);
        self.progress = true;
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
