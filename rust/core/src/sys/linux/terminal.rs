//! Pseudo-terminals for workers whose output should be one.

use rustix::fs::Uid;
use rustix::pty::{self, OpenptFlags};
use rustix::termios::{self, OptionalActions, OutputModes, Winsize};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Window {
    pub rows: u16,
    pub columns: u16,
}

impl Default for Window {
    fn default() -> Window {
        Window { rows: 24, columns: 80 }
    }
}

/// How large a terminal is; the usual size for what is none, or does not know.
pub fn window_of(fd: BorrowedFd<'_>) -> Window {
    match termios::tcgetwinsize(fd) {
        Ok(Winsize { ws_row: rows @ 1.., ws_col: columns @ 1.., .. }) => Window { rows, columns },
        _ => Window::default(),
    }
}

/// A terminal nobody controls yet: (our end, the worker's end), closed on exec. Lines come out as they were written, without a carriage
/// return. It belongs to `owner`, who can then open it by its name; to us without one.
pub fn open_terminal(window: Window, owner: Option<u32>) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = pty::openpt(flags)?;
    pty::unlockpt(&ours)?;
    let theirs = pty::ioctl_tiocgptpeer(&ours, flags)?;
    let mut modes = termios::tcgetattr(&theirs)?;
    modes.output_modes.remove(OutputModes::ONLCR);
    termios::tcsetattr(&theirs, OptionalActions::Now, &modes)?;
    let size = Winsize { ws_row: window.rows, ws_col: window.columns, ws_xpixel: 0, ws_ypixel: 0 };
    termios::tcsetwinsize(&theirs, size)?;
    if let Some(uid) = owner.filter(|uid| *uid != super::own_uid()) {
        rustix::fs::fchown(&theirs, Some(Uid::from_raw(uid)), None)?;
    }
    Ok((ours, theirs))
}
