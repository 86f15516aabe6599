//! When the bytes of a log file were read: `FILE.idx` beside `FILE`, for `procq logs --since`.
//!
//! Records of 16 bytes, little endian: offset in FILE, nanoseconds since the epoch. What lies between the offsets
//! of two records was read at the time of the first or later. Both ascend; a record comes after its bytes. A reader
//! has to live with an index that is missing, ends within a record, or names more than the file holds: so nothing
//! here is an error, and nothing waits for it.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use serde::{Deserialize, Serialize};

use super::queue::TIME_STEP;
use crate::state::{Fd, Inherited, Luggage};
use crate::sys;

/// Bytes of a record.
const RECORD: u64 = 16;
/// Descriptors that the index leaves to what matters more.
const SPARE_DESCRIPTORS: u64 = 256;

/// The index of an open file.
#[derive(Debug)]
pub(super) struct Index {
    fd: OwnedFd,
    /// Bytes in it: whole records.
    length: u64,
    /// Time of the last record.
    last: Option<u64>,
    records: Vec<u8>,
}

/// The name of a file's index.
pub(super) fn path_of(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".idx");
    name.into()
}

/// As an upgrade hands it on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedIndex {
    fd: Fd,
    length: u64,
    last: Option<u64>,
}

impl Index {
    pub fn save(&self, luggage: &mut Luggage) -> SavedIndex {
        // What was noted is written with the bytes that it is about.
        let Index { fd, length, last, records: _ } = self;
        SavedIndex { fd: luggage.pack(fd), length: *length, last: *last }
    }

    pub fn restore(saved: &SavedIndex, inherited: &Inherited) -> Index {
        let SavedIndex { fd, length, last } = *saved;
        Index { fd: inherited.take(fd), length, last, records: Vec::new() }
    }

    /// Opens the index of a file that holds `size` bytes; begins anew if it cannot be that file's, as with an empty one.
    pub fn open(file: &Path, size: u64) -> Option<Index> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY;
        let flags = flags | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let fd = rustix::fs::open(path_of(file), flags, Mode::from_raw_mode(0o640)).ok()?;
        let stat = rustix::fs::fstat(&fd).ok()?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        // With a second name it is somebody else's: we only ever make it under one.
        if !regular || stat.st_nlink != 1 || sys::is_scarce(fd.as_fd(), SPARE_DESCRIPTORS) {
            return None;
        }
        let length = u64::try_from(stat.st_size).unwrap_or(0);
        let mut index = Index { fd, length, last: None, records: Vec::new() };
        match index.last_record() {
            Some((offset, time)) if offset <= size && size > 0 => {
                index.last = Some(time);
                (length % RECORD == 0 || index.cut_to(length - length % RECORD)).then_some(index)
            }
            _ => index.restart().then_some(index),
        }
    }

    /// When the first byte of the file was read, if that is known.
    pub fn first(&self) -> Option<u64> {
        self.record(0).filter(|(offset, _)| *offset == 0).map(|(_, time)| time)
    }

    /// Bytes in it.
    pub fn length(&self) -> u64 {
        self.length
    }

    fn last_record(&self) -> Option<(u64, u64)> {
        self.record((self.length - self.length % RECORD).checked_sub(RECORD)?)
    }

    fn record(&self, at: u64) -> Option<(u64, u64)> {
        let mut record = [0; RECORD as usize];
        let read = rustix::io::pread(&self.fd, &mut record, at).ok()?;
        let (offset, time) = record.split_at(8);
        (read == record.len()).then(|| {
            (
                u64::from_le_bytes(offset.try_into().unwrap_or_default()),
                u64::from_le_bytes(time.try_into().unwrap_or_default()),
            )
        })
    }

    /// Whether bytes read at this time deserve a record.
    pub fn is_due(&self, time: u64) -> bool {
        self.last.is_none_or(|last| time >= last.saturating_add(TIME_STEP.as_nanos() as u64))
    }

    /// Notes that the bytes at this offset were read then, if that is due.
    pub fn note(&mut self, offset: u64, time: u64) {
        if self.is_due(time) {
            self.last = Some(time);
            self.records.extend_from_slice(&offset.to_le_bytes());
            self.records.extend_from_slice(&time.to_le_bytes());
        }
    }

    /// Writes what was noted. False if it cannot be gone on with.
    #[must_use]
    pub fn write(&mut self) -> bool {
        if self.records.is_empty() {
            return true;
        }
        let result = rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, &self.records));
        let complete = result == Ok(self.records.len());
        if complete {
            self.length += self.records.len() as u64;
        }
        self.records.clear();
        complete || rustix::fs::ftruncate(&self.fd, self.length).is_ok()
    }

    /// The file is not what it was: whatever the index says is wrong. False if it cannot be gone on with.
    #[must_use]
    pub fn restart(&mut self) -> bool {
        self.last = None;
        self.records.clear();
        self.cut_to(0)
    }

    fn cut_to(&mut self, length: u64) -> bool {
        // Not for nothing: ext4 hurries to write a file that was cut to nothing, as soon as it is closed.
        let longer = std::mem::replace(&mut self.length, length) > length;
        !longer || rustix::fs::ftruncate(&self.fd, length).is_ok()
    }
}
