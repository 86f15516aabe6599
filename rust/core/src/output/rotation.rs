//! Makes place for a new file: FILE becomes FILE.1, FILE.1 becomes FILE.2 …, each with its index, compressed ones
//! (FILE.2.gz becomes FILE.3.gz) as well.
//!
//! Only renames, so a crash between any two leaves every byte under some name; what is missing then is one number.
//! The next rotation moves no more files than it needs to fill that gap. Only when there is none the oldest falls away.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::index;

/// The name of a closed file; 1 is the newest.
pub(super) fn numbered(file: &Path, number: u32) -> PathBuf {
    beside(file, &format!(".{number}"))
}

/// The name of a closed file that is compressed. Its index keeps the name it had.
pub(super) fn compressed(file: &Path, number: u32) -> PathBuf {
    beside(file, &format!(".{number}.gz"))
}

/// FILE with something behind it.
pub(super) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(suffix);
    name.into()
}

/// The names that a closed file may have. Both, where compression was cut off between its last two steps.
pub(super) fn forms(file: &Path, number: u32) -> [PathBuf; 2] {
    [numbered(file, number), compressed(file, number)]
}

/// Frees the name of a file and keeps at most `keep` closed ones. On an error nothing is lost and the name is still taken.
pub(super) fn shift(file: &Path, keep: u32) -> Result<(), Errno> {
    if keep == 0 {
        ignore_missing(rustix::fs::unlink(file))?;
        let _ = rustix::fs::unlink(index::path_of(file));
    } else {
        let gap = (1..=keep).find(|&number| is_vacant(file, number));
        let last = gap.unwrap_or(keep);
        // The index first: it would be taken for that of the file that comes. And no rename over a file that is there:
        // ext4 makes it wait for the disk, to protect who replaces a file by another version.
        ignore_missing(rustix::fs::unlink(index::path_of(&numbered(file, last))))?;
        if gap.is_none() {
            forms(file, last).iter().try_for_each(|path| ignore_missing(rustix::fs::unlink(path)))?;
        }
        for number in (1..last).rev() {
            for (from, to) in forms(file, number).iter().zip(forms(file, number + 1)) {
                ignore_missing(rustix::fs::rename(from, to))?;
            }
            move_index(&numbered(file, number), &numbered(file, number + 1))?;
        }
        rename(file, &numbered(file, 1))?;
    }
    // Those that a larger `keep` has left.
    for number in keep.saturating_add(1).. {
        if is_vacant(file, number) || remove(file, number).is_err() {
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

/// Removes a closed file, in whatever form, and its index.
pub(super) fn remove(file: &Path, number: u32) -> Result<(), Errno> {
    forms(file, number).iter().try_for_each(|path| ignore_missing(rustix::fs::unlink(path)))?;
    let _ = rustix::fs::unlink(index::path_of(&numbered(file, number)));
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<(), Errno> {
    ignore_missing(rustix::fs::rename(from, to))?;
    move_index(from, to)
}

fn move_index(from: &Path, to: &Path) -> Result<(), Errno> {
    let (from, to) = (index::path_of(from), index::path_of(to));
    match rustix::fs::rename(from, &to) {
        // An index of a former file of that name would be worse than none.
        Err(Errno::NOENT) => ignore_missing(rustix::fs::unlink(&to)),
        // As bad as an index may be: it keeps no output from its file.
        _ => Ok(()),
    }
}

fn is_vacant(file: &Path, number: u32) -> bool {
    forms(file, number).iter().all(|path| is_missing(path))
}

pub(super) fn is_missing(path: &Path) -> bool {
    rustix::fs::lstat(path).is_err_and(|errno| errno == Errno::NOENT)
}

pub(super) fn ignore_missing(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}
