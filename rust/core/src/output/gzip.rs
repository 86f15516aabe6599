//! Compresses one closed file, from one descriptor into another. It knows no names, and runs in a thread of its own
//! that everybody else goes before.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use flate2::{Compression, GzBuilder};
use rustix::fs::{Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::shared::Shared;
use crate::sys;

/// Bytes read at a time; between two the work can be given up.
const STEP: usize = 64 * 1024;
/// The compressor has its tables on the stack while it makes them.
const STACK: usize = 1024 * 1024;

/// A file as it was when it was closed. Compressed, it is another file: readers find it again by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    /// When it was written last: seconds and nanoseconds.
    pub written: (i64, u32),
}

impl Origin {
    /// Bytes of it in a header.
    pub const LENGTH: usize = 36;

    pub fn of(stat: &Stat) -> Origin {
        Origin {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            written: (stat.st_mtime, stat.st_mtime_nsec as u32),
        }
    }

    /// A field of a gzip header ("PQ", length, four numbers; RFC 1952, 2.3.1.1).
    pub fn field(&self) -> [u8; Self::LENGTH] {
        let mut field = [0; Self::LENGTH];
        field[..4].copy_from_slice(&[b'P', b'Q', Self::LENGTH as u8 - 4, 0]);
        let written = self.written.0 * 1_000_000_000 + i64::from(self.written.1);
        let numbers = [self.device, self.inode, self.size, written as u64];
        for (place, number) in field[4..].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        field
    }

    /// Whether a file begins as one that was made of this by us.
    pub fn is_of(&self, compressed: impl AsFd) -> bool {
        // Ten bytes of gzip, with the flag for what follows: two of length, and the field.
        let mut head = [0; 12 + Self::LENGTH];
        let read = rustix::io::pread(compressed, &mut head, 0);
        read == Ok(head.len()) && head[..2] == [0x1f, 0x8b] && head[3] & 4 != 0 && head[12..] == self.field()
    }
}

/// What the thread and the writer share. No lock: the one is niced, and the other must not wait for it.
#[derive(Debug, Default)]
pub(super) struct Task {
    cancelled: AtomicBool,
    result: OnceLock<Result<(), Errno>>,
}

impl Task {
    /// Compresses in a new thread, which rings for the writer when it is done.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(source: OwnedFd, target: OwnedFd, origin: Origin, shared: Arc<Shared>) -> io::Result<Arc<Task>> {
        let task = Arc::new(Task::default());
        let mine = Arc::clone(&task);
        let thread = std::thread::Builder::new().name("procq-gzip".to_owned()).stack_size(STACK);
        shared.helpers.fetch_add(1, Ordering::Relaxed);
        let theirs = Arc::clone(&shared);
        let started = thread.spawn(move || {
            sys::step_back();
            let result = mine.compress(&File::from(source), &File::from(target), &origin);
            let _ = mine.result.set(result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)));
            theirs.helpers.fetch_sub(1, Ordering::Relaxed);
            theirs.ring_writer();
            // Somebody may wait until nothing of us runs any more.
            theirs.wake_reactor();
        });
        started.map(|_| task).inspect_err(|_| _ = shared.helpers.fetch_sub(1, Ordering::Relaxed))
    }

    /// What has come of it, if it is done.
    pub fn result(&self) -> Option<Result<(), Errno>> {
        self.result.get().copied()
    }

    /// Has the thread end soon. It may not, if the disk does not answer.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn compress(&self, mut source: &File, target: &File, origin: &Origin) -> io::Result<()> {
        let time = u32::try_from(origin.written.0).unwrap_or(0);
        let header = GzBuilder::new().mtime(time).extra(origin.field().to_vec());
        let mut encoder = header.write(target, Compression::default());
        let mut buffer = vec![0; STEP];
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(Errno::CANCELED.into());
            }
            match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => encoder.write_all(&buffer[..length])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        encoder.finish()?;
        if Origin::of(&rustix::fs::fstat(source)?) != *origin {
            // Somebody writes there. Nothing of it may be lost with the old file.
            return Err(Errno::STALE.into());
        }
        let (seconds, nanoseconds) = origin.written;
        let written = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
        rustix::fs::futimens(target, &Timestamps { last_access: written, last_modification: written })?;
        // The old file goes when the new one has its name: after a power cut one of them must be there.
        rustix::fs::fdatasync(target)?;
        Ok(())
    }
}
