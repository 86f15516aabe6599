//! Makes place for a new file: FILE becomes FILE.1, FILE.1 becomes FILE.2 …, each with its index.
//!
//! Only renames, so a crash between any two leaves every byte under some name; what is missing then is one number.
//! The next rotation moves no more files than it needs to fill that gap. Only when there is none the oldest falls away.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::index;

/// The name of a closed file; 1 is the newest.
pub(super) fn numbered(file: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(format!(".{number}"));
    name.into()
}

/// Frees the name of a file and keeps at most `keep` closed ones. On an error nothing is lost and the name is still taken.
pub(super) fn shift(file: &Path, keep: u32) -> Result<(), Errno> {
    if keep == 0 {
        remove(file)?;
    } else {
        let gap = (1..=keep).find(|&number| is_missing(&numbered(file, number)));
        let mut to = numbered(file, gap.unwrap_or(keep));
        // The index first: it would be taken for that of the file that comes. And no rename over a file that is there:
        // ext4 makes it wait for the disk, to protect who replaces a file by another version.
        ignore_missing(rustix::fs::unlink(index::path_of(&to)))?;
        if gap.is_none() {
            ignore_missing(rustix::fs::unlink(&to))?;
        }
        for number in (1..gap.unwrap_or(keep)).rev() {
            let from = numbered(file, number);
            rename(&from, &to)?;
            to = from;
        }
        rename(file, &to)?;
    }
    // Those that a larger `keep` has left.
    for number in keep.saturating_add(1).. {
        let surplus = numbered(file, number);
        if is_missing(&surplus) || remove(&surplus).is_err() {
            break;
        }
    }
    Ok(())
}

/// Takes the last step back, if it can be: the new file could not be made.
pub(super) fn restore(file: &Path, keep: u32) {
    if keep > 0 && is_missing(file) {
        let _ = rename(&numbered(file, 1), file);
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), Errno> {
    ignore_missing(rustix::fs::rename(from, to))?;
    let (from, to) = (index::path_of(from), index::path_of(to));
    match rustix::fs::rename(from, &to) {
        // An index of a former file of that name would be worse than none.
        Err(Errno::NOENT) => ignore_missing(rustix::fs::unlink(&to)),
        // As bad as an index may be: it keeps no output from its file.
        _ => Ok(()),
    }
}

fn remove(file: &Path) -> Result<(), Errno> {
    ignore_missing(rustix::fs::unlink(file))?;
    let _ = rustix::fs::unlink(index::path_of(file));
    Ok(())
}

fn is_missing(path: &Path) -> bool {
    rustix::fs::lstat(path).is_err_and(|errno| errno == Errno::NOENT)
}

fn ignore_missing(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}
