//! `total`: how much a file and its closed ones may be together. The oldest of these go first.
//!
//! Sizes are those that `ls` shows, indexes included: with few lines they are a good part of the whole.

use std::path::Path;

use rustix::io::Errno;

use super::index;
use super::rotation::{forms, numbered, remove};

/// Removes the oldest closed files until the others have at most `most` bytes. Gives what these have, and where that is
/// still more, why.
pub(super) fn trim(file: &Path, keep: u32, most: u64) -> (u64, Option<Errno>) {
    let closed: Vec<(u32, u64)> = (1..=keep).map(|number| (number, size_of(file, number))).collect();
    let mut left: u64 = closed.iter().map(|(_, size)| size).sum();
    let mut failure = None;
    for (number, size) in closed.into_iter().rev() {
        if left <= most {
            break;
        }
        match remove(file, number) {
            Ok(()) => left -= size,
            Err(errno) => failure = failure.or(Some(errno)),
        }
    }
    (left, failure.filter(|_| left > most))
}

fn size_of(file: &Path, number: u32) -> u64 {
    let index = index::path_of(&numbered(file, number));
    let paths = forms(file, number).into_iter().chain([index]);
    let sizes = paths.filter_map(|path| rustix::fs::lstat(path).ok()).map(|stat| u64::try_from(stat.st_size));
    sizes.map(Result::unwrap_or_default).sum()
}
