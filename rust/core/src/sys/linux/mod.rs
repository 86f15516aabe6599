//! Linux 5.4 and later: pidfds, epoll, signalfd, `/proc`.

mod background;
mod capabilities;
pub mod cgroup;
mod child;
mod entry;
mod identity;
mod lifetime;
mod limits;
mod namespace;
mod notify;
mod poll;
pub mod process;
mod raw;
mod rights;
mod signals;
mod spawn;
mod stack;
mod terminal;
mod usage;

pub use background::step_back;
pub use child::{Child, Exit, SavedChild};
pub use lifetime::{become_subreaper, close_all, close_on_exec_all, hear_of_parents_end, set_name};
pub use limits::{resource_name, MARK};
pub use namespace::{begin_namespace, settle_in_namespace};
pub use notify::{hear_senders, receive, Notice, NotifySocket, SavedNotifySocket, Sender, LONGEST_NOTICE};
pub use poll::{Interest, Poller, Ready};
pub use rights::{with_rights, Rights};
pub use signals::{block_all, reset_dispositions, stop_self, wait_for_child, SignalSource};
pub use spawn::{Image, SavedStarting, SpawnError, Spawner, Starting, Strategy, Verdict};
pub use terminal::{open_terminal, window_of, Window};
pub use usage::{usage, Root, Usage, UNLIMITED};

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// A pipe, closed on exec: (read end, write end).
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// A counter that wakes a poller from another thread.
pub fn wakeup() -> io::Result<OwnedFd> {
    use rustix::event::EventfdFlags;
    Ok(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Lets a busy pipe hold more, so that its reader wakes less often; refused quietly over the user's limit.
pub fn grow_pipe(fd: BorrowedFd<'_>, bytes: usize) {
    let _ = rustix::pipe::fcntl_setpipe_size(fd, bytes);
}

/// User id of the process at the other end of a unix socket.
pub fn peer_uid(fd: BorrowedFd<'_>) -> io::Result<u32> {
    // libc, because rustix takes 0 for no pid, and that is what a process outside of our PID namespace has here.
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `peer`.
    let outcome = unsafe {
        let place = (&raw mut peer).cast();
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, place, &mut length)
    };
    match outcome {
        0 => Ok(peer.uid),
        _ => Err(io::Error::last_os_error()),
    }
}

/// This process's effective user id.
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A file that is nowhere but in memory, with this in it, closed on exec.
pub fn memory_file(name: &std::ffi::CStr, bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut written = 0;
    while written < bytes.len() {
        written += rustix::io::retry_on_intr(|| rustix::io::pwrite(&file, &bytes[written..], written as u64))?;
    }
    Ok(file)
}

/// All that is in a file of memory.
pub fn read_memory_file(file: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let size = usize::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0);
    let mut bytes = vec![0; size];
    let mut read = 0;
    while read < size {
        match rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut bytes[read..], read as u64))? {
            0 => break,
            n => read += n,
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

/// How many threads this process has; none where `/proc` does not tell.
pub fn threads() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}

/// Nanoseconds since the machine started, those in which it slept included. No clock that anybody sets.
pub fn since_boot() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec as i64
}
