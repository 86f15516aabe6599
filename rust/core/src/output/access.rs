//! How files are reached: with whose rights, and whether through links.

use rustix::io::Errno;

use crate::proto::messages::Identity;
use crate::sys;

/// How a path is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Whatever it leads to. `/dev/stdout` and logs on another disk are what people link to, and it is their own file.
    Follow,
    /// With the rights of a worker's user: a link at its end is refused, somebody else may have planted it.
    Refuse,
}

/// Works on files with the rights of a worker's user; with our own where it has none.
pub(super) fn with_rights<T>(user: Option<&Identity>, work: impl FnOnce(Way) -> Result<T, Errno>) -> Result<T, Errno> {
    let Some(user) = user else { return work(Way::Follow) };
    let rights = sys::Rights { uid: user.uid, gid: user.gid, groups: &user.groups };
    sys::with_rights(rights, || work(Way::Refuse))
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::PERM))?
}
