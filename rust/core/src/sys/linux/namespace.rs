//! A PID namespace: when its first process ends, the kernel ends all the others.

use super::capabilities::Capabilities;
use std::io;

/// Has the next child of this process be the first of a new PID namespace. Without the right to that, in a user namespace in which
/// everybody stays who he is; there is one thread.
///
/// # Errors
/// The system does not allow it.
pub fn begin_namespace() -> io::Result<()> {
    match unshare(libc::CLONE_NEWPID) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        done => return done,
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID)?;
    // Who may not set groups may map his own.
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// In that child: a `/proc` that shows the namespace, in a mount namespace that still gets what is mounted outside later on.
/// Returns the number that this process has outside.
///
/// # Errors
/// The system does not allow it.
pub fn settle_in_namespace() -> io::Result<i32> {
    let outside = std::fs::read_link("/proc/self")?;
    let outside = outside.to_str().and_then(|number| number.parse().ok()).unwrap_or_else(crate::sys::own_pid);
    unshare(libc::CLONE_NEWNS)?;
    let flags = libc::MS_REC | libc::MS_SLAVE;
    mount(c"none", c"/", None, flags)?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount(c"proc", c"/proc", Some(c"proc"), flags)?;
    if !rustix::process::geteuid().is_root() {
        // Those of the user namespace have served.
        // SAFETY: takes capabilities from this thread, the only one.
        unsafe { Capabilities::NONE.set() };
    }
    Ok(outside)
}

fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: integers; nothing that memory depends on is unshared.
    match unsafe { libc::unshare(flags) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn mount(
    source: &std::ffi::CStr,
    target: &std::ffi::CStr,
    kind: Option<&std::ffi::CStr>,
    flags: libc::c_ulong,
) -> io::Result<()> {
    let kind = kind.map_or(std::ptr::null(), std::ffi::CStr::as_ptr);
    // SAFETY: strings end with NUL and live during the call; there are no data.
    match unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, std::ptr::null()) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
