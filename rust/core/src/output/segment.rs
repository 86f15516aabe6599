//! An open log file: what it is, how much is in it, and its index.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, StatxFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::access::Way;
use super::batch::Mark;
use super::index::{Index, SavedIndex};
use crate::state::{paths, Fd, Inherited, Luggage};
use crate::sys;

/// How often a file is opened whose directory vanishes meanwhile.
const ATTEMPTS: u32 = 10;

/// The writing end of one file.
#[derive(Debug)]
pub(super) struct Segment {
    fd: OwnedFd,
    /// Device and inode.
    pub identity: (u64, u64),
    /// Bytes in it; somebody else may have changed that.
    pub size: u64,
    /// What is in it ends with a line, as far as we know.
    pub whole: bool,
    /// Where the file itself is, and its closed ones and indexes beside it. None for what is no file, or not ours to rename.
    pub place: Option<PathBuf>,
    /// When its first byte was read, in nanoseconds since the machine started; none while it is empty.
    pub began: Option<i64>,
    /// It had a name when it was opened: without one by now it is gone. There are file systems that never tell.
    named: bool,
    index: Option<Index>,
}

/// As an upgrade hands it on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedSegment {
    fd: Fd,
    identity: (u64, u64),
    size: u64,
    whole: bool,
    place: Option<ByteBuf>,
    #[serde(default)]
    began: Option<i64>,
    #[serde(default)]
    named: bool,
    index: Option<SavedIndex>,
}

impl Segment {
    pub fn save(&self, luggage: &mut Luggage) -> SavedSegment {
        let Segment { fd, identity, size, whole, place, began, named, index } = self;
        SavedSegment {
            fd: luggage.pack(fd),
            identity: *identity,
            size: *size,
            whole: *whole,
            place: place.as_deref().map(paths::bytes_of),
            began: *began,
            named: *named,
            index: index.as_ref().map(|index| index.save(luggage)),
        }
    }

    pub fn restore(saved: SavedSegment, inherited: &Inherited) -> Segment {
        let SavedSegment { fd, identity, size, whole, place, began, named, index } = saved;
        Segment {
            fd: inherited.take(fd),
            identity,
            size,
            whole,
            place: place.map(paths::path_of),
            began,
            named,
            index: index.map(|index| Index::restore(&index, inherited)),
        }
    }

    /// Opens a file, creating it and its directory where they are missing.
    pub fn open(path: &Path, way: Way) -> Result<Segment, Errno> {
        let mut attempts = 1..ATTEMPTS;
        loop {
            match open(path, way, OFlags::empty()) {
                // Somebody may remove the directory as soon as it is there.
                Err(Errno::NOENT) if attempts.next().is_some() => match create_parent(path) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(errno),
                },
                other => return other.and_then(|fd| Segment::of(fd, path, way)),
            }
        }
    }

    /// Opens the file that follows on one that was renamed. Somebody may have made it meanwhile: then his. Or the whole
    /// directory is gone, with what was renamed: then it is made again.
    pub fn create(path: &Path, way: Way) -> Result<Segment, Errno> {
        match open(path, way, OFlags::EXCL) {
            Err(Errno::EXIST | Errno::NOENT) => Segment::open(path, way),
            other => other.and_then(|fd| Segment::of(fd, path, way)),
        }
    }

    fn of(fd: OwnedFd, path: &Path, way: Way) -> Result<Segment, Errno> {
        let stat = rustix::fs::fstat(&fd)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let place = if regular { place_of(path, way) } else { None };
        let size = size_of(&stat);
        let index = place.as_deref().and_then(|place| Index::open(place, size));
        let began = (size > 0).then(|| began(&fd, &stat, index.as_ref()));
        let named = place.is_some() && stat.st_nlink > 0;
        Ok(Segment { fd, identity: (stat.st_dev, stat.st_ino), size, whole: true, place, began, named, index })
    }

    /// Whether the path still leads here. Deleted, renamed, or another file has its name: what follows belongs into that.
    pub fn is_at(&self, path: &Path) -> bool {
        rustix::fs::stat(path).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.identity)
    }

    /// Whether it has no name any more.
    pub fn is_deleted(&self) -> bool {
        rustix::fs::fstat(&self.fd).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Whether somebody has deleted it, so that what is written here is lost.
    pub fn is_gone(&self) -> bool {
        self.named && self.is_deleted()
    }

    /// Bytes of it and its index.
    pub fn weight(&self) -> u64 {
        self.size + self.index.as_ref().map_or(0, Index::length)
    }

    /// Looks how much is really in it.
    pub fn measure(&mut self) {
        let Ok(stat) = rustix::fs::fstat(&self.fd) else { return };
        let size = size_of(&stat);
        if size < self.size && self.index.as_mut().is_some_and(|index| !index.restart()) {
            self.index = None;
        }
        self.size = size;
        if size == 0 {
            self.began = None;
        }
    }

    /// Whether bytes that were read at this time will be noted in the index.
    pub fn is_index_due(&self, time: u64) -> bool {
        self.index.as_ref().is_some_and(|index| index.is_due(time))
    }

    /// Appends; gives how many bytes were taken.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let length = rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, bytes))?;
        if length == 0 && !bytes.is_empty() {
            return Err(Errno::AGAIN);
        }
        if let Some(last) = bytes[..length].last() {
            self.whole = *last == b'\n';
        }
        self.began = self.began.or_else(|| Some(sys::since_boot()));
        self.size += length as u64;
        Ok(length)
    }

    /// Notes when the last `length` bytes were read. `marks`: relative to the first of them.
    pub fn note(&mut self, length: usize, marks: impl Iterator<Item = Mark>) {
        let Some(index) = &mut self.index else { return };
        let start = self.size - length as u64;
        for mark in marks {
            index.note(start + mark.at as u64, mark.time);
        }
        if !index.write() {
            self.index = None;
        }
    }
}

/// When the first byte of a file was read: as its index has it, else when the file was made, or last written. By the
/// clock of the wall, which is all that survives a restart; a time to come is taken for now.
fn began(fd: &OwnedFd, stat: &Stat, index: Option<&Index>) -> i64 {
    let nanoseconds = |seconds: i64, rest: u32| u64::try_from(seconds).unwrap_or(0) * 1_000_000_000 + u64::from(rest);
    let born = || {
        let found = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
        let known = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
        known.then(|| nanoseconds(found.stx_btime.tv_sec, found.stx_btime.tv_nsec))
    };
    let told = index.and_then(Index::first).or_else(born);
    let time = told.unwrap_or_else(|| nanoseconds(stat.st_mtime, stat.st_mtime_nsec as u32));
    sys::since_boot() - i64::try_from(sys::wall().saturating_sub(time)).unwrap_or(i64::MAX / 2)
}

fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Non-blocking for the sake of FIFOs without a reader; regular files do not care.
fn open(path: &Path, way: Way, more: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let way = if way == Way::Refuse { OFlags::NOFOLLOW } else { OFlags::empty() };
    rustix::io::retry_on_intr(|| rustix::fs::open(path, flags | way | more, Mode::from_raw_mode(0o640)))
}

fn create_parent(path: &Path) -> Result<(), Errno> {
    let Some(parent) = path.parent() else { return Err(Errno::NOENT) };
    std::fs::create_dir_all(parent).map_err(errno)
}

/// Where a path leads after all links at its end. None if on the way there is something that only looks like a
/// file's name: `/dev/stdout` may lead to a regular file, but that is somebody else's.
fn place_of(path: &Path, way: Way) -> Option<PathBuf> {
    let mut place = path.to_path_buf();
    // As many as the kernel follows.
    for _ in 0..40 {
        let special = place.starts_with("/proc") || place.starts_with("/dev") && !place.starts_with("/dev/shm");
        if special {
            return None;
        }
        match std::fs::read_link(&place) {
            Ok(target) if way == Way::Follow => place = place.parent()?.join(target),
            Ok(_) => return None,
            Err(_) => return Some(place),
        }
    }
    None
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
