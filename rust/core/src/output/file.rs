//! A log file, as the writer thread sees it: open, write, rotate, notice that it was moved away, try again.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::cut::{cut, Cut};
use super::queue::{FileQueue, Settings};
use super::rotation;
use super::segment::{SavedSegment, Segment, Way};
use crate::proto::messages::Identity;
use crate::state::{Inherited, Luggage};
use crate::sys;

/// How often the path is compared with the open file.
const IDENTITY_INTERVAL: Duration = Duration::from_millis(200);
/// The same, as long as the file ends within a line.
const OPEN_LINE_INTERVAL: Duration = Duration::from_secs(2);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(1);
/// A FIFO or device that is full is asked again soon, and is no trouble until it stalls.
const BUSY_RETRY: Duration = Duration::from_millis(10);

/// What one attempt gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Written: bytes, and bytes of output that are done with.
    Wrote(usize, usize),
    Busy,
    Failed(Errno),
}

/// The writing end of one path.
#[derive(Debug)]
pub(super) struct LogFile {
    path: Arc<Path>,
    user: Option<Arc<Identity>>,
    settings: Settings,
    segment: Option<Segment>,
    checked: Instant,
    /// The file that was closed within a line: if it is opened again, the line goes on.
    left: Option<(u64, u64)>,
    pub batch: Batch,
    pub retry: Option<Instant>,
    pause: Duration,
    /// Rotation has failed, and is tried again then.
    rotate_at: Option<Instant>,
    /// What there is to say of rotation: it fails (why), or works again (none).
    pub rotation_news: Option<Option<Errno>>,
}

/// As an upgrade hands it on. Path, rights and settings are those of its queue.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedFile {
    segment: Option<SavedSegment>,
    left: Option<(u64, u64)>,
    batch: Batch,
    rotation_fails: bool,
}

impl LogFile {
    pub fn save(&self, luggage: &mut Luggage) -> SavedFile {
        // What waits for a moment to be tried again is tried at once by who comes.
        let LogFile { path: _, user: _, settings: _, segment, checked: _, left, batch, .. } = self;
        let LogFile { retry: _, pause: _, rotate_at, rotation_news: _, .. } = self;
        SavedFile {
            segment: segment.as_ref().map(|segment| segment.save(luggage)),
            left: *left,
            batch: batch.clone(),
            rotation_fails: rotate_at.is_some(),
        }
    }

    pub fn restore(saved: SavedFile, queue: &FileQueue, now: Instant, inherited: &Inherited) -> LogFile {
        LogFile {
            segment: saved.segment.map(|segment| Segment::restore(segment, inherited)),
            left: saved.left,
            batch: saved.batch,
            rotate_at: saved.rotation_fails.then_some(now),
            ..LogFile::new(queue, now)
        }
    }

    pub fn new(queue: &FileQueue, now: Instant) -> Self {
        LogFile {
            path: Arc::clone(&queue.path),
            user: queue.user.clone(),
            settings: queue.settings,
            segment: None,
            checked: now,
            left: None,
            batch: Batch::default(),
            retry: None,
            pause: FIRST_RETRY,
            rotate_at: None,
            rotation_news: None,
        }
    }

    /// Takes over what is said of the file by now, and what has come.
    pub fn take_over(&mut self, queue: &mut FileQueue) {
        // Also for what is under way: as it was said before it might never be written.
        self.settings = queue.settings;
        if self.user != queue.user {
            self.user.clone_from(&queue.user);
            self.leave();
        }
        if self.batch.is_done() {
            self.batch.take(&mut queue.pieces);
        }
    }

    /// Closes the file; the next attempt opens what the path leads to by then.
    fn leave(&mut self) {
        if let Some(segment) = self.segment.take() {
            self.left = (!segment.whole).then_some(segment.identity);
        }
    }

    /// Writes the next step of the batch; without one only sees to it that the file is open.
    pub fn write(&mut self, now: Instant) -> Outcome {
        self.retry = None;
        match self.step(now) {
            Ok(length) => {
                self.pause = FIRST_RETRY;
                Outcome::Wrote(length, self.batch.advance(length))
            }
            Err(Errno::AGAIN) => {
                self.retry = Some(now + BUSY_RETRY);
                Outcome::Busy
            }
            Err(errno) => {
                self.retry = Some(now + self.pause);
                self.pause = (self.pause * 2).min(LAST_RETRY);
                // What the path leads to by then may be in a better state.
                self.leave();
                Outcome::Failed(errno)
            }
        }
    }

    fn step(&mut self, now: Instant) -> Result<usize, Errno> {
        self.check(now);
        let mut segment = match self.segment.take() {
            Some(segment) => segment,
            None => self.with_rights(Segment::open)?,
        };
        segment.whole &= self.left.take().is_none_or(|left| left != segment.identity);
        let result = self.write_to(&mut segment, now);
        self.segment = Some(segment);
        result
    }

    fn write_to(&mut self, segment: &mut Segment, now: Instant) -> Result<usize, Errno> {
        let format = self.settings.format;
        if self.batch.rest(format).is_empty() {
            return Ok(0);
        }
        if self.batch.marks(1).any(|mark| segment.is_index_due(mark.time)) {
            segment.measure();
        }
        let may_rotate = segment.place.is_some() && self.rotate_at.is_none_or(|at| at <= now);
        let mut limit = self.settings.rotate.filter(|_| may_rotate);
        if self.is_full(segment, limit) {
            // Somebody may have made it shorter.
            segment.measure();
            if self.is_full(segment, limit) {
                self.rotate(segment, now)?;
            }
            if self.is_full(segment, limit) {
                // No new one could be had, or it is somebody else's.
                limit = None;
            }
        }
        let rest = self.batch.rest(format);
        let Cut::Write(length) = cut(rest, segment.size, segment.whole, limit) else { return Err(Errno::AGAIN) };
        let length = segment.write(&rest[..length])?;
        segment.note(length, self.batch.marks(length));
        Ok(length)
    }

    fn is_full(&mut self, segment: &Segment, limit: Option<u64>) -> bool {
        let rest = self.batch.rest(self.settings.format);
        cut(rest, segment.size, segment.whole, limit) == Cut::Rotate
    }

    /// Was it deleted, renamed, or put in another's place? Then it ends here, with a whole line if possible.
    fn check(&mut self, now: Instant) {
        let Some(segment) = &self.segment else { return };
        let interval = if segment.whole { IDENTITY_INTERVAL } else { OPEN_LINE_INTERVAL };
        if now.saturating_duration_since(self.checked) < interval {
            return;
        }
        self.checked = now;
        if !self.with_rights(|path, _| Ok(segment.is_at(path))).unwrap_or(false) {
            self.segment = None;
        }
    }

    /// Goes on with the file that follows on a full one; with the same if that could not be had. An error: it cannot be gone on with either.
    fn rotate(&mut self, segment: &mut Segment, now: Instant) -> Result<(), Errno> {
        let keep = self.settings.keep;
        let result = self.with_rights(|path, way| {
            let Some(place) = &segment.place else { return Err(Errno::INVAL) };
            // Renamed by somebody else: the new file has begun already.
            if segment.is_at(path) {
                rotation::shift(place, keep)?;
            }
            Segment::create(place, way).inspect_err(|_| rotation::restore(place, keep))
        });
        let failure = result.map(|next| *segment = next).err();
        let (before, again) = (self.rotate_at, failure.map(|_| now + LAST_RETRY));
        self.rotate_at = again;
        if before.is_some() != again.is_some() {
            self.rotation_news = Some(failure);
        }
        // Removed, because none is kept, and nothing in its place: what is written there is lost.
        failure.filter(|_| segment.is_deleted()).map_or(Ok(()), Err)
    }

    fn with_rights<T>(&self, work: impl FnOnce(&Path, Way) -> Result<T, Errno>) -> Result<T, Errno> {
        match &self.user {
            None => work(&self.path, Way::Follow),
            Some(user) => {
                let rights = sys::Rights { uid: user.uid, gid: user.gid, groups: &user.groups };
                sys::with_rights(rights, || work(&self.path, Way::Refuse))
                    .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::PERM))?
            }
        }
    }
}
