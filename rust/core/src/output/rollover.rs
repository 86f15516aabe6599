//! `procq up -d`: the file of all that people would watch begins anew when it is large. What was in it is kept once, in FILE.1.
//!
//! By copying and truncating: sentinel and keeper write to the same open file, which therefore has to stay the same one.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Bytes copied by one call.
const STEP: usize = 1 << 20;

/// Empties a file that is open for appending, after copying it to the same name with `.1` behind it. Emptied it is in any case.
pub(super) fn begin_anew(file: BorrowedFd<'_>) -> Result<(), Errno> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let copied = copy(&link);
    rustix::fs::ftruncate(file, 0)?;
    copied
}

fn copy(link: &str) -> Result<(), Errno> {
    let mut name = rustix::fs::readlink(link, Vec::new())?.into_bytes();
    name.extend(b".1");
    let source = rustix::fs::open(link, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::open(OsString::from_vec(name), flags, Mode::from_raw_mode(0o600))?;
    while rustix::io::retry_on_intr(|| rustix::fs::sendfile(&target, &source, None, STEP))? > 0 {}
    Ok(())
}
