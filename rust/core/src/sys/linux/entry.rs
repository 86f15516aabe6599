//! The child's half of a spawn: everything between clone and exec.
//!
//! It shares memory with the parent, on a stack of its own. So: raw system calls, reads of [`Arguments`], and nothing else: no allocation,
//! no lock, no thread-local storage, no panic. What it has to say goes through the status pipe ([`REPORT`] bytes: stage,
//! candidate, error number); having exec'ed, it says nothing.

use super::identity::Change;
use super::raw;
use super::spawn::{Image, Names};
use crate::proto::messages::{Limit, Stage};
use serde_bytes::ByteBuf;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

/// Bytes of a failure in the status pipe.
pub(super) const REPORT: usize = 8;

/// What the child reads. Lives in a box until the verdict.
pub(super) struct Arguments {
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
    limits: *const Limit,
    limit_count: usize,
    nice: Option<i32>,
    terminal: bool,
    /// The directory of the control group to go to, where it is not born there; -1 without one.
    join: RawFd,
    user: Option<Change>,
    // What the pointers above point into.
    pub paths: Vec<CString>,
    pub image: Image,
}

impl Arguments {
    pub fn new(
        image: Image,
        user: Option<Change>,
        status: RawFd,
        streams: [BorrowedFd<'_>; 3],
        extra: &[OwnedFd],
    ) -> Box<Arguments> {
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
            limits: image.limits.as_ptr(),
            limit_count: image.limits.len(),
            nice: image.nice,
            terminal: image.terminal,
            join: -1,
            user,
            paths,
            image,
        })
    }

    /// The child goes to this control group by itself, before it can have a child of its own.
    pub fn join(&mut self, cgroup: Option<RawFd>) {
        self.join = cgroup.unwrap_or(-1);
    }
}

impl Arguments {
    /// What a failure may be about, for who will not have these.
    pub fn names(&self) -> Names {
        let text = |text: &CString| ByteBuf::from(text.as_bytes());
        Names {
            directory: self.image.directory.as_ref().map(text).unwrap_or_default(),
            candidates: self.paths.iter().map(text).collect(),
            name: self.image.argv.first().map(text).unwrap_or_default(),
            limits: self.image.limits.iter().map(|limit| limit.resource).collect(),
            user: self.image.user.as_ref().map(|user| user.uid),
        }
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

/// Everything between clone and exec. Shares memory with the parent: raw system calls and reads of `Arguments`, nothing else.
pub(super) unsafe extern "C" fn child_main(argument: *mut u8) -> ! {
    // SAFETY: `argument` is the box that the parent keeps until the status pipe ends.
    let a = unsafe { &mut *argument.cast::<Arguments>() };
    // SAFETY: as the module says.
    unsafe {
        if a.join >= 0 {
            check(a, Stage::Cgroup, join(a.join));
        }
        check(a, Stage::Session, raw::call(libc::SYS_setsid, 0, 0, 0, 0));
        arm_death_signal(a);
        // A hard limit below the mark makes this fail: the secondary marks of the tree must do then.
        set_soft_limit(libc::RLIMIT_LOCKS as usize, a.mark);
        if a.set_descriptors {
            let limit = a.descriptors.as_ptr() as usize;
            check(a, Stage::Descriptors, raw::call(libc::SYS_prlimit64, 0, libc::RLIMIT_NOFILE as usize, limit, 0));
        }
        place_streams(a);
        if a.terminal {
            check(a, Stage::Terminal, raw::call(libc::SYS_ioctl, 1, libc::TIOCSCTTY as usize, 0, 0));
        }
        // Hard limits and priorities can be raised only by who is still privileged; the limits come first, because one is about the other.
        set_limits(a);
        if let Some(nice) = a.nice {
            let process = libc::PRIO_PROCESS as usize;
            check(a, Stage::Nice, raw::call(libc::SYS_setpriority, process, 0, nice as usize, 0));
        }
        if a.umask >= 0 {
            raw::call(libc::SYS_umask, a.umask as usize, 0, 0, 0);
        }
        if let Some(user) = &a.user {
            if let Err((stage, errno)) = user.make() {
                report(a, stage, errno, 0);
            }
            // The kernel forgets it when rights change.
            arm_death_signal(a);
        }
        // With the worker's own rights from here on.
        if !a.directory.is_null() {
            check(a, Stage::Directory, raw::call(libc::SYS_chdir, a.directory as usize, 0, 0, 0));
        }
        let empty = 0u64;
        let mask = ptr::from_ref(&empty) as usize;
        check(a, Stage::Signals, raw::call(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK as usize, mask, 0, 8));
        execute(a)
    }
}

/// Negative where it failed.
unsafe fn join(cgroup: RawFd) -> isize {
    let flags = (libc::O_WRONLY | libc::O_CLOEXEC) as usize;
    // SAFETY: see `child_main`. What is opened here ends at exec.
    unsafe {
        let file = raw::call(libc::SYS_openat, cgroup as usize, c"cgroup.procs".as_ptr() as usize, flags, 0);
        match file {
            0.. => raw::call(libc::SYS_write, file as usize, c"0".as_ptr() as usize, 1, 0),
            error => error,
        }
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

unsafe fn set_limits(a: &Arguments) {
    let mut index = 0;
    while index < a.limit_count {
        // SAFETY: see `child_main`; there are so many.
        unsafe {
            let limit = &*a.limits.add(index);
            let pair = [limit.soft, limit.hard];
            let set = raw::call(libc::SYS_prlimit64, 0, limit.resource as usize, pair.as_ptr() as usize, 0);
            if set < 0 {
                report(a, Stage::Limits, -set, index as u8);
            }
        }
        index += 1;
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
