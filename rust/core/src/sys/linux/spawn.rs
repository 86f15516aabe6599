//! Starting a process: the child shares our memory until exec, the parent does not wait for it.
//!
//! `CLONE_VM` saves the copy of the page tables; leaving `CLONE_VFORK` out keeps the reactor running while a path on a dead network
//! mount hangs in exec (docs/adr/0002). The price: the child runs on a stack of its own, makes raw system calls only,
//! and stack and arguments must live until the status pipe ends. It says nothing but end-of-file when exec
//! has happened (the pipe closes on exec), else the stage and error number. Only its end is the verdict: a child that
//! has reported a failure still runs on that stack, and the kernel closes the descriptors of a process after it has let go of its memory.

use super::child::Child;
use super::raw;
use crate::proto::messages::Stage;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
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

/// What the child reads. Lives in a box until the verdict.
struct Arguments {
    status: RawFd,
    parent: i32,
    streams: [RawFd; 3],
    extra: Vec<RawFd>,
    umask: i64,
    directory: *const libc::c_char,
    candidates: Vec<*const libc::c_char>,
    argv: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
    mark: u64,
    descriptors: [u64; 2],
    set_descriptors: bool,
    // What the pointers above point into.
    paths: Vec<CString>,
    image: Image,
}

/// A child between clone and exec.
pub struct Starting {
    status: OwnedFd,
    report: Option<[u8; REPORT]>,
    arguments: Box<Arguments>,
    stack: Option<Stack>,
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
        let path = match stage_of(stage) {
            Stage::Directory => self.arguments.image.directory.as_ref(),
            Stage::Exec | Stage::Interpreter => {
                self.arguments.paths.get(candidate as usize).or(self.arguments.image.argv.first())
            }
            _ => None,
        };
        path.map_or_else(Vec::new, |p| p.as_bytes().to_vec())
    }
}

impl AsFd for Starting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.status.as_fd()
    }
}

const REPORT: usize = 8;

fn stage_of(byte: u8) -> Stage {
    const ALL: [Stage; 11] = [
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
    ];
    ALL.into_iter().find(|stage| *stage as u8 == byte).unwrap_or(Stage::Exec)
}

/// Makes children, and keeps a few of their stacks for the next ones.
pub struct Spawner {
    strategy: Strategy,
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
        Spawner { strategy: if shares_memory { strategy } else { Strategy::Fork }, stacks: Vec::new() }
    }

    /// The strategy in use.
    pub fn strategy(&self) -> Strategy {
        self.strategy
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
        let (status, report) = super::pipe().map_err(failed)?;
        super::super::set_nonblocking(status.as_fd()).map_err(failed)?;
        let (report, extra) = out_of_the_way(report, extra).map_err(failed)?;
        let mut arguments = Arguments::new(image, report.as_raw_fd(), streams, &extra);
        let (child, stack) = self.clone(&mut arguments).map_err(failed)?;
        Ok((child, Starting { status, report: None, arguments, stack }))
    }

    /// Takes back what a child needed until exec.
    pub fn recycle(&mut self, starting: Starting) {
        const KEPT: usize = 16;
        if let Some(stack) = starting.stack.filter(|_| self.stacks.len() < KEPT) {
            self.stacks.push(stack);
        }
    }

    fn clone(&mut self, arguments: &mut Box<Arguments>) -> io::Result<(Child, Option<Stack>)> {
        loop {
            let mut pidfd: RawFd = -1;
            let argument = ptr::from_mut::<Arguments>(arguments).cast();
            let (pid, stack) = match self.strategy {
                Strategy::Fork => (clone_copy(&mut pidfd, argument), None),
                sharing => {
                    let stack = self.stacks.pop().map_or_else(Stack::new, Ok)?;
                    (clone_sharing(sharing, &stack, &mut pidfd, argument), Some(stack))
                }
            };
            if pid >= 0 {
                // SAFETY: the kernel has just made this descriptor for us.
                let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
                return Ok((Child::from_parts(pid as i32, pidfd), stack));
            }
            self.stacks.extend(stack);
            self.strategy = match (self.strategy, -pid as i32) {
                (Strategy::Clone3, libc::ENOSYS | libc::EPERM) => Strategy::Clone,
                (Strategy::Clone, libc::ENOSYS | libc::EPERM) => Strategy::Fork,
                (_, errno) => return Err(io::Error::from_raw_os_error(errno)),
            };
        }
    }
}

/// Numbers above those that the child will have, so that putting one in place never overwrites another.
fn out_of_the_way(report: OwnedFd, extra: &[BorrowedFd<'_>]) -> io::Result<(OwnedFd, Vec<OwnedFd>)> {
    const LOWEST: RawFd = 64;
    if extra.is_empty() {
        return Ok((report, Vec::new()));
    }
    let report = super::super::duplicate_above(report.as_fd(), LOWEST)?;
    let extra = extra.iter().map(|fd| super::super::duplicate_above(*fd, LOWEST)).collect::<io::Result<_>>()?;
    Ok((report, extra))
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn clone_sharing(strategy: Strategy, stack: &Stack, pidfd: &mut RawFd, argument: *mut u8) -> isize {
    let flags = (libc::CLONE_VM | libc::CLONE_PIDFD) as u64;
    // SAFETY: the stack is fresh and outlives the child's use of it, as does `argument`; `child_main` never returns.
    unsafe {
        if strategy == Strategy::Clone3 {
            let mut request: libc::clone_args = std::mem::zeroed();
            request.flags = flags;
            request.pidfd = ptr::from_mut(pidfd) as u64;
            request.exit_signal = libc::SIGCHLD as u64;
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
fn clone_sharing(_: Strategy, _: &Stack, _: &mut RawFd, _: *mut u8) -> isize {
    -(libc::ENOSYS as isize)
}

fn clone_copy(pidfd: &mut RawFd, argument: *mut u8) -> isize {
    let flags = (libc::CLONE_PIDFD | libc::SIGCHLD) as usize;
    // SAFETY: like fork; the child makes raw system calls only and never returns.
    unsafe {
        match raw::call(libc::SYS_clone, flags, 0, ptr::from_mut(pidfd) as usize, 0) {
            0 => child_main(argument),
            result => result,
        }
    }
}

impl Arguments {
    fn new(image: Image, status: RawFd, streams: [BorrowedFd<'_>; 3], extra: &[OwnedFd]) -> Box<Arguments> {
        let pointers = |list: &[CString]| list.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect::<Vec<_>>();
        let paths = candidates(&image);
        Box::new(Arguments {
            status,
            parent: super::super::own_pid(),
            streams: streams.map(|fd| fd.as_raw_fd()),
            extra: extra.iter().map(AsRawFd::as_raw_fd).collect(),
            umask: image.umask.map_or(-1, i64::from),
            directory: image.directory.as_ref().map_or(ptr::null(), |d| d.as_ptr()),
            candidates: pointers(&paths),
            argv: pointers(&image.argv),
            env: pointers(&image.env),
            mark: image.mark,
            descriptors: image.descriptors.map_or([0, 0], |(soft, hard)| [soft, hard]),
            set_descriptors: image.descriptors.is_some(),
            paths,
            image,
        })
    }
}

/// Where `argv[0]` may be: itself when it has a slash, else every directory of the *worker's* PATH, tried in the worker's directory.
fn candidates(image: &Image) -> Vec<CString> {
    let Some(name) = image.argv.first() else { return Vec::new() };
    if name.as_bytes().contains(&b'/') {
        return vec![name.clone()];
    }
    let path = image.env.iter().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH=")).unwrap_or(b"/usr/bin:/bin");
    std::env::split_paths(OsStr::from_bytes(path))
        .take(u8::MAX as usize)
        .filter_map(|directory| {
            let directory = if directory.as_os_str().is_empty() { ".".into() } else { directory };
            CString::new(directory.join(OsStr::from_bytes(name.as_bytes())).as_os_str().as_bytes()).ok()
        })
        .collect()
}

/// A stack with a page below it that must not be touched.
struct Stack {
    map: *mut libc::c_void,
    base: *mut libc::c_void,
}

// SAFETY: plain memory with one owner.
unsafe impl Send for Stack {}

impl Stack {
    const GUARD: usize = 1 << 16;
    const SIZE: usize = 1 << 16;

    fn new() -> io::Result<Stack> {
        // SAFETY: a fresh private mapping; the lower part is made inaccessible.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
            let map = libc::mmap(ptr::null_mut(), Self::GUARD + Self::SIZE, libc::PROT_NONE, flags, -1, 0);
            if map == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let stack = Stack { map, base: map.byte_add(Self::GUARD) };
            match libc::mprotect(stack.base, Self::SIZE, libc::PROT_READ | libc::PROT_WRITE) {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(stack),
            }
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: our own mapping; its child has exec'ed or ended.
        unsafe { libc::munmap(self.map, Self::GUARD + Self::SIZE) };
    }
}

/// Everything between clone and exec. Shares memory with the parent: raw system calls and reads of `Arguments`, nothing else.
unsafe extern "C" fn child_main(argument: *mut u8) -> ! {
    // SAFETY: `argument` is the box that the parent keeps until the status pipe ends.
    let a = unsafe { &mut *argument.cast::<Arguments>() };
    // SAFETY: as the module says.
    unsafe {
        check(a, Stage::Session, raw::call(libc::SYS_setsid, 0, 0, 0, 0));
        arm_death_signal(a);
        // A hard limit below the mark makes this fail: the secondary marks of the tree must do then.
        set_soft_limit(libc::RLIMIT_LOCKS as usize, a.mark);
        if a.set_descriptors {
            let limit = a.descriptors.as_ptr() as usize;
            check(a, Stage::Descriptors, raw::call(libc::SYS_prlimit64, 0, libc::RLIMIT_NOFILE as usize, limit, 0));
        }
        place_streams(a);
        if a.umask >= 0 {
            raw::call(libc::SYS_umask, a.umask as usize, 0, 0, 0);
        }
        if !a.directory.is_null() {
            check(a, Stage::Directory, raw::call(libc::SYS_chdir, a.directory as usize, 0, 0, 0));
        }
        let empty = 0u64;
        let mask = ptr::from_ref(&empty) as usize;
        check(a, Stage::Signals, raw::call(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK as usize, mask, 0, 8));
        execute(a)
    }
}

/// SIGKILL when the keeper's thread ends; and gone at once if it ended before this was armed.
unsafe fn arm_death_signal(a: &Arguments) {
    // SAFETY: see `child_main`.
    unsafe {
        let armed = raw::call(libc::SYS_prctl, libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize, 0, 0);
        if armed == 0 && raw::call(libc::SYS_getppid, 0, 0, 0, 0) != a.parent as isize {
            exit();
        }
    }
}

unsafe fn set_soft_limit(resource: usize, soft: u64) {
    let mut limit = [0u64; 2];
    // SAFETY: see `child_main`.
    unsafe {
        if raw::call(libc::SYS_prlimit64, 0, resource, 0, limit.as_mut_ptr() as usize) == 0 && soft <= limit[1] {
            limit[0] = soft;
            raw::call(libc::SYS_prlimit64, 0, resource, limit.as_ptr() as usize, 0);
        }
    }
}

/// Standard streams to 0, 1, 2, the extra ones from 3, the status pipe behind them; nothing above.
unsafe fn place_streams(a: &mut Arguments) {
    // SAFETY: see `child_main`.
    unsafe {
        for target in 0..3 {
            check(a, Stage::Streams, raw::call(libc::SYS_dup3, *a.streams.as_ptr().add(target) as usize, target, 0, 0));
        }
        let extra = a.extra.len();
        let mut index = 0;
        while index < extra {
            let source = *a.extra.as_ptr().add(index) as usize;
            check(a, Stage::Streams, raw::call(libc::SYS_dup3, source, 3 + index, 0, 0));
            index += 1;
        }
        let status = 3 + extra;
        if a.status as usize != status {
            check(a, Stage::Streams, raw::call(libc::SYS_dup3, a.status as usize, status, libc::O_CLOEXEC as usize, 0));
            a.status = status as RawFd;
        }
        // Closed now, not at exec: a child that hangs there must hold nobody's pipe. Kernels before 5.9 refuse, and close at exec.
        raw::call(libc::SYS_close_range, status + 1, u32::MAX as usize, 0, 0);
    }
}

unsafe fn execute(a: &Arguments) -> ! {
    // Found nowhere: no candidate, but the name itself, is what to tell.
    let mut worst = (libc::ENOENT as isize, u8::MAX, Stage::Exec);
    let mut index = 0;
    // SAFETY: see `child_main`; the lists end with a null pointer.
    unsafe {
        loop {
            let path = *a.candidates.as_ptr().add(index);
            if path.is_null() {
                break;
            }
            let errno = try_exec(a, path);
            let exists = raw::call(libc::SYS_faccessat, libc::AT_FDCWD as usize, path as usize, 0, 0) == 0;
            let absent = matches!(errno as i32, libc::ENOENT | libc::ENOTDIR) && !exists;
            if !absent {
                let stage = if errno as i32 == libc::ENOENT { Stage::Interpreter } else { Stage::Exec };
                worst = (errno, index as u8, stage);
                // As execvp: a file that may not be run does not end the search, anything else does.
                if errno as i32 != libc::EACCES {
                    break;
                }
            } else if index == 0 && errno as i32 == libc::ENOTDIR {
                worst.0 = errno;
            }
            index += 1;
        }
        report(a, worst.2, worst.0, worst.1)
    }
}

/// Tries again for a moment while somebody still has the file open for writing (a deployment that is just ending).
unsafe fn try_exec(a: &Arguments, path: *const libc::c_char) -> isize {
    let pause = libc::timespec { tv_sec: 0, tv_nsec: 5_000_000 };
    let mut tries = 0;
    // SAFETY: see `child_main`.
    unsafe {
        loop {
            let error =
                -raw::call(libc::SYS_execve, path as usize, a.argv.as_ptr() as usize, a.env.as_ptr() as usize, 0);
            if error as i32 != libc::ETXTBSY || tries == 20 {
                return error;
            }
            raw::call(libc::SYS_nanosleep, ptr::from_ref(&pause) as usize, 0, 0, 0);
            tries += 1;
        }
    }
}

unsafe fn check(a: &Arguments, stage: Stage, result: isize) {
    if result < 0 {
        // SAFETY: see `child_main`.
        unsafe { report(a, stage, -result, 0) }
    }
}

unsafe fn report(a: &Arguments, stage: Stage, errno: isize, candidate: u8) -> ! {
    let number = (errno as i32).to_ne_bytes();
    let message = [stage as u8, candidate, 0, 0, number[0], number[1], number[2], number[3]];
    // SAFETY: see `child_main`.
    unsafe {
        raw::call(libc::SYS_write, a.status as usize, message.as_ptr() as usize, REPORT, 0);
        exit()
    }
}

unsafe fn exit() -> ! {
    loop {
        // SAFETY: ends this process; the loop is for the compiler.
        unsafe { raw::call(libc::SYS_exit_group, 127, 0, 0, 0) };
    }
}
