//! Starting a process: the child shares our memory until exec, the parent does not wait for it.
//!
//! `CLONE_VM` saves the copy of the page tables; leaving `CLONE_VFORK` out keeps the reactor running while a path on a dead network
//! mount hangs in exec (docs/adr/0002). The price: the child runs on a stack of its own, makes raw system calls only,
//! and stack and arguments must live until the status pipe ends. It says nothing but end-of-file when exec
//! has happened (the pipe closes on exec), else the stage and error number. Only its end is the verdict: a child that
//! has reported a failure still runs on that stack, and the kernel closes the descriptors of a process after it has let go of its memory.

use super::child::Child;
use super::entry::{child_main, Arguments, REPORT};
use super::identity::Change;
use super::raw;
use super::stack::Stack;
use crate::proto::messages::{Identity, Limit, Stage};
use crate::state::{Fd, Inherited, Luggage};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// What to execute, and in which surroundings.
#[derive(Debug, Default)]
pub struct Image {
    /// Argument vector; must not be empty.
    pub argv: Vec<CString>,
    /// Whole environment; PATH in it finds `argv[0]`.
    pub env: Vec<CString>,
    /// Working directory.
    pub directory: Option<CString>,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// Soft RLIMIT_LOCKS: ignored by the kernel, inherited by every descendant, read back by [`super::process::mark`].
    pub mark: u64,
    /// Soft and hard RLIMIT_NOFILE, as they were before we raised ours.
    pub descriptors: Option<(u64, u64)>,
    /// Who it runs as; as we do when absent.
    pub user: Option<Identity>,
    /// Its priority, -20 (first) to 19.
    pub nice: Option<i32>,
    /// Resource limits of its own.
    pub limits: Vec<Limit>,
    /// Standard output is a terminal, and is to control its session.
    pub terminal: bool,
    /// The directory of the control group that it is born in; ours when absent.
    pub cgroup: Option<OwnedFd>,
}

/// How the child is made. All three are tested; the first that this machine allows is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// `clone3` sharing memory (Linux 5.3).
    Clone3,
    /// `clone` sharing memory, where a sandbox answers ENOSYS to clone3.
    Clone,
    /// `clone` with a copy of memory, on architectures without a line of assembly here.
    Fork,
}

/// Why there is no child.
#[derive(Debug, thiserror::Error)]
#[error("{stage:?}: {source}")]
pub struct SpawnError {
    /// What failed.
    pub stage: Stage,
    /// How.
    pub source: io::Error,
}

/// What became of an exec.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not known yet.
    Pending,
    /// The image runs, or the child was killed before it did.
    Executing,
    /// It did not come to exec.
    Failed {
        /// The step.
        stage: Stage,
        /// The error number.
        errno: i32,
        /// The path it was about.
        path: Vec<u8>,
    },
}

/// A child between clone and exec.
pub struct Starting {
    status: OwnedFd,
    report: Option<[u8; REPORT]>,
    memory: Memory,
}

/// Where what the child reads until exec is.
enum Memory {
    /// With us.
    Ours { arguments: Box<Arguments>, stack: Option<Stack> },
    /// With the image that made it: an exec of ours leaves it to the child alone.
    Former(Names),
}

/// What a failure may be about.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Names {
    pub directory: ByteBuf,
    pub candidates: Vec<ByteBuf>,
    /// What was looked for.
    pub name: ByteBuf,
    pub limits: Vec<u32>,
    pub user: Option<u32>,
}

/// As an upgrade hands it on.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedStarting {
    status: Fd,
    report: Option<[u8; REPORT]>,
    names: Names,
}

impl Starting {
    /// Looks whether the child has exec'ed, or reported why not and ended. Anything but `Pending` is final: then it uses our memory no more.
    pub fn verdict(&mut self) -> Verdict {
        loop {
            let mut report = [0u8; REPORT];
            match rustix::io::read(&self.status, &mut report) {
                Ok(REPORT) => self.report = Some(report),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Verdict::Pending,
                Ok(_) | Err(_) => break,
            }
        }
        let Some(report) = self.report else { return Verdict::Executing };
        Verdict::Failed {
            stage: stage_of(report[0]),
            errno: i32::from_ne_bytes([report[4], report[5], report[6], report[7]]),
            path: self.path_of(report[0], report[1]),
        }
    }

    fn path_of(&self, stage: u8, candidate: u8) -> Vec<u8> {
        let names = self.names();
        match stage_of(stage) {
            Stage::Directory => names.directory.into_vec(),
            Stage::Exec | Stage::Interpreter => {
                names.candidates.get(candidate as usize).unwrap_or(&names.name).to_vec()
            }
            Stage::Limits => {
                let limit = names.limits.get(candidate as usize);
                limit.map_or_else(Vec::new, |limit| super::resource_name(*limit).into_bytes())
            }
            Stage::Groups | Stage::User => names.user.map_or_else(Vec::new, |uid| uid.to_string().into_bytes()),
            _ => Vec::new(),
        }
    }

    fn names(&self) -> Names {
        match &self.memory {
            Memory::Ours { arguments, .. } => arguments.names(),
            Memory::Former(names) => names.clone(),
        }
    }

    /// For an upgrade. The child does not notice: until its exec it keeps the memory that it shares with us.
    pub fn save(&self, luggage: &mut Luggage) -> SavedStarting {
        let Starting { status, report, memory: _ } = self;
        SavedStarting { status: luggage.pack(status), report: *report, names: self.names() }
    }

    /// The inverse.
    pub fn restore(saved: SavedStarting, inherited: &Inherited) -> Starting {
        let SavedStarting { status, report, names } = saved;
        Starting { status: inherited.take(status), report, memory: Memory::Former(names) }
    }
}

impl AsFd for Starting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.status.as_fd()
    }
}

fn stage_of(byte: u8) -> Stage {
    const ALL: [Stage; 17] = [
        Stage::Clone,
        Stage::Signals,
        Stage::Session,
        Stage::DeathSignal,
        Stage::Mark,
        Stage::Streams,
        Stage::Umask,
        Stage::Directory,
        Stage::Descriptors,
        Stage::Exec,
        Stage::Interpreter,
        Stage::Groups,
        Stage::User,
        Stage::Nice,
        Stage::Limits,
        Stage::Terminal,
        Stage::Cgroup,
    ];
    ALL.into_iter().find(|stage| *stage as u8 == byte).unwrap_or(Stage::Exec)
}

/// Makes children, and keeps a few of their stacks for the next ones.
pub struct Spawner {
    strategy: Strategy,
    /// Whether `clone3` takes CLONE_INTO_CGROUP (Linux 5.7); learnt at the first refusal. Else the child goes there before anything else.
    born_inside: bool,
    stacks: Vec<Stack>,
}

impl Default for Spawner {
    fn default() -> Self {
        Spawner::new(Strategy::Clone3)
    }
}

impl Spawner {
    /// Begins with this strategy, and falls back to the next where the machine refuses it.
    pub fn new(strategy: Strategy) -> Spawner {
        let shares_memory = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
        let strategy = if shares_memory { strategy } else { Strategy::Fork };
        Spawner { strategy, born_inside: true, stacks: Vec::new() }
    }

    /// The strategy in use.
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// Forgets that this kernel can have a child be born in a control group, as an older one would: for tests of the fallback.
    pub fn pretend_none_is_born_inside(&mut self) {
        self.born_inside = false;
    }

    /// Starts `image` with these standard streams, and `extra` descriptors as numbers 3, 4 … Returns before exec; watch the
    /// [`Starting`] for reading. All signals must be blocked in the caller, and the caller must be the thread whose end means the end of procq
    /// (the death signal follows the thread).
    pub fn spawn(
        &mut self,
        image: Image,
        streams: [BorrowedFd<'_>; 3],
        extra: &[BorrowedFd<'_>],
    ) -> Result<(Child, Starting), SpawnError> {
        let failed = |source| SpawnError { stage: Stage::Clone, source };
        let change = image.user.as_ref().map(Change::to).transpose()?;
        // Who becomes another user must not have our memory while it still is as we made it (docs/adr/0014).
        let alone = change.as_ref().is_some_and(Change::is_alone);
        let (status, report) = super::pipe().map_err(failed)?;
        super::super::set_nonblocking(status.as_fd()).map_err(failed)?;
        let (report, extra) = out_of_the_way(report, extra).map_err(failed)?;
        let mut arguments = Arguments::new(image, change, report.as_raw_fd(), streams, &extra);
        let (child, stack) = self.clone(&mut arguments, alone)?;
        Ok((child, Starting { status, report: None, memory: Memory::Ours { arguments, stack } }))
    }

    /// Takes back what a child needed until exec.
    pub fn recycle(&mut self, starting: Starting) {
        const KEPT: usize = 16;
        if let Memory::Ours { stack: Some(stack), .. } = starting.memory {
            if self.stacks.len() < KEPT {
                self.stacks.push(stack);
            }
        }
    }

    fn clone(&mut self, arguments: &mut Box<Arguments>, alone: bool) -> Result<(Child, Option<Stack>), SpawnError> {
        let failed = |source| SpawnError { stage: Stage::Clone, source };
        let cgroup = arguments.image.cgroup.as_ref().map(AsRawFd::as_raw_fd);
        loop {
            let mut pidfd: RawFd = -1;
            let inside = cgroup.filter(|_| self.born_inside && self.strategy == Strategy::Clone3);
            arguments.join(cgroup.filter(|_| inside.is_none()));
            let argument = ptr::from_mut::<Arguments>(arguments).cast();
            let strategy = if alone { Strategy::Fork } else { self.strategy };
            let (pid, stack) = match strategy {
                Strategy::Fork => (clone_copy(&mut pidfd, argument, inside), None),
                sharing => {
                    let stack = self.stacks.pop().map_or_else(Stack::new, Ok).map_err(failed)?;
                    (clone_sharing(sharing, &stack, &mut pidfd, argument, inside), Some(stack))
                }
            };
            if pid >= 0 {
                // SAFETY: the kernel has just made this descriptor for us.
                let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
                return Ok((Child::from_parts(pid as i32, pidfd), stack));
            }
            self.stacks.extend(stack);
            let error = io::Error::from_raw_os_error(-pid as i32);
            match (strategy, -pid as i32) {
                // An older kernel, or a sandbox.
                (_, libc::E2BIG | libc::EINVAL | libc::ENOSYS | libc::EPERM) if inside.is_some() => {
                    self.born_inside = false;
                }
                // Its members' limits, threads, or its removal.
                (_, libc::EACCES | libc::EBUSY | libc::EOPNOTSUPP | libc::ENODEV | libc::ENOENT)
                    if inside.is_some() =>
                {
                    return Err(SpawnError { stage: Stage::Cgroup, source: error });
                }
                (Strategy::Clone3, libc::ENOSYS | libc::EPERM) => self.strategy = Strategy::Clone,
                (Strategy::Clone, libc::ENOSYS | libc::EPERM) => self.strategy = Strategy::Fork,
                _ => return Err(failed(error)),
            }
        }
    }
}

/// Numbers above those that the child will have, so that putting one in place never overwrites another.
fn out_of_the_way(report: OwnedFd, extra: &[BorrowedFd<'_>]) -> io::Result<(OwnedFd, Vec<OwnedFd>)> {
    if extra.is_empty() {
        return Ok((report, Vec::new()));
    }
    // The streams, the extra ones, the report.
    let lowest = 3 + extra.len() as RawFd + 1;
    let report = super::super::duplicate_above(report.as_fd(), lowest)?;
    let extra = extra.iter().map(|fd| super::super::duplicate_above(*fd, lowest)).collect::<io::Result<_>>()?;
    Ok((report, extra))
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn clone_sharing(
    strategy: Strategy,
    stack: &Stack,
    pidfd: &mut RawFd,
    argument: *mut u8,
    cgroup: Option<RawFd>,
) -> isize {
    let flags = (libc::CLONE_VM | libc::CLONE_PIDFD) as u64;
    // SAFETY: the stack is fresh and outlives the child's use of it, as does `argument`; `child_main` never returns.
    unsafe {
        if strategy == Strategy::Clone3 {
            let mut request = request(flags, pidfd, cgroup);
            request.stack = stack.base as u64;
            request.stack_size = Stack::SIZE as u64;
            let size = size_of::<libc::clone_args>();
            raw::clone_into(libc::SYS_clone3, ptr::from_mut(&mut request) as usize, size, 0, child_main, argument)
        } else {
            let top = stack.base as usize + Stack::SIZE;
            let flags = flags as usize | libc::SIGCHLD as usize;
            raw::clone_into(libc::SYS_clone, flags, top, ptr::from_mut(pidfd) as usize, child_main, argument)
        }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn clone_sharing(_: Strategy, _: &Stack, _: &mut RawFd, _: *mut u8, _: Option<RawFd>) -> isize {
    -(libc::ENOSYS as isize)
}

/// What `clone3` is asked for, but for a stack.
fn request(flags: u64, pidfd: &mut RawFd, cgroup: Option<RawFd>) -> libc::clone_args {
    const CLONE_INTO_CGROUP: u64 = 1 << 33;
    // SAFETY: a plain structure, in which zero asks for nothing.
    let mut request: libc::clone_args = unsafe { std::mem::zeroed() };
    request.flags = flags | cgroup.map_or(0, |_| CLONE_INTO_CGROUP);
    request.cgroup = cgroup.unwrap_or(0) as u64;
    request.pidfd = ptr::from_mut(pidfd) as u64;
    request.exit_signal = libc::SIGCHLD as u64;
    request
}

fn clone_copy(pidfd: &mut RawFd, argument: *mut u8, cgroup: Option<RawFd>) -> isize {
    // SAFETY: like fork; the child makes raw system calls only and never returns.
    unsafe {
        let result = if cgroup.is_some() {
            let mut request = request(libc::CLONE_PIDFD as u64, pidfd, cgroup);
            let size = size_of::<libc::clone_args>();
            raw::call(libc::SYS_clone3, ptr::from_mut(&mut request) as usize, size, 0, 0)
        } else {
            let flags = (libc::CLONE_PIDFD | libc::SIGCHLD) as usize;
            raw::call(libc::SYS_clone, flags, 0, ptr::from_mut(pidfd) as usize, 0)
        };
        match result {
            0 => child_main(argument),
            result => result,
        }
    }
}
