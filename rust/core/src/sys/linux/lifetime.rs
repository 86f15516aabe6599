//! What ties the lives of processes together: subreapers, death signals, descriptors that end at exec.

use std::ffi::CStr;
use std::io;

/// Orphaned descendants become our children instead of init's.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: prctl on this process with integers.
    match unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// This signal for this process when the *thread* that created it ends. Check the parent afterwards: it may have gone before.
pub fn hear_of_parents_end(signal: i32) -> io::Result<()> {
    // SAFETY: prctl on this process with integers.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The name that `ps -o comm` and `top` show, at most 15 bytes.
pub fn set_name(name: &CStr) {
    // SAFETY: `name` is NUL-terminated and read only during the call.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Marks every descriptor from 3 up closed-on-exec, whoever left it open.
pub fn close_on_exec_all() {
    for fd in open_descriptors() {
        // SAFETY: changes a flag of a descriptor of this process; a stale number fails with EBADF.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Closes every descriptor from 3 up. For a process in which nothing that owns one is used any more.
pub fn close_all() {
    for fd in open_descriptors() {
        // SAFETY: as the caller promises, no owner will miss it; a stale number fails with EBADF.
        unsafe { libc::close(fd) };
    }
}

fn open_descriptors() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok()).filter(|fd| *fd > 2).collect()
}
