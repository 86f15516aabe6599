//! A log file, as the writer thread sees it: open, write, notice that it was moved away, try again.

mod upkeep;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::access::{self, Way};
use super::batch::Batch;
use super::cut::{cut, Cut};
use super::queue::{FileQueue, Settings};
use super::segment::{SavedSegment, Segment};
use crate::proto::messages::Identity;
use crate::state::{Inherited, Luggage};
use upkeep::{SavedUpkeep, Upkeep};

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
    pub upkeep: Upkeep,
}

/// As an upgrade hands it on. Path, rights and settings are those of its queue.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedFile {
    segment: Option<SavedSegment>,
    left: Option<(u64, u64)>,
    batch: Batch,
    upkeep: SavedUpkeep,
}

impl LogFile {
    pub fn save(&self, luggage: &mut Luggage) -> SavedFile {
        // What waits for a moment to be tried again is tried at once by who comes.
        let LogFile { path: _, user: _, settings: _, segment, checked: _, left, batch, .. } = self;
        // So is what failed beside the file: if it fails again, that is no news.
        let LogFile { retry: _, pause: _, upkeep, .. } = self;
        SavedFile {
            segment: segment.as_ref().map(|segment| segment.save(luggage)),
            left: *left,
            batch: batch.clone(),
            upkeep: upkeep.save(),
        }
    }

    pub fn restore(saved: SavedFile, queue: &FileQueue, now: Instant, inherited: &Inherited) -> LogFile {
        LogFile {
            segment: saved.segment.map(|segment| Segment::restore(segment, inherited)),
            left: saved.left,
            batch: saved.batch,
            upkeep: Upkeep::restore(saved.upkeep, now),
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
            upkeep: Upkeep::new(),
        }
    }

    /// Takes over what is said of the file by now, and what has come.
    pub fn take_over(&mut self, queue: &mut FileQueue) {
        // Also for what is under way: as it was said before it might never be written.
        if self.settings != queue.settings {
            self.upkeep.change(&self.settings, &queue.settings);
            self.settings = queue.settings;
        }
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
        if let Ok(length @ 1..) = result {
            if segment.is_gone() {
                // These bytes went into a file that somebody had deleted before: they belong into the next one, at once.
                self.retry = Some(now);
                return Ok(0);
            }
            segment.note(length, self.batch.marks(length));
        }
        self.segment = Some(segment);
        result
    }

    fn write_to(&mut self, segment: &mut Segment, now: Instant) -> Result<usize, Errno> {
        if self.batch.marks(1).any(|mark| segment.is_index_due(mark.time)) {
            segment.measure();
        }
        let mut limit = self.limit(segment, now);
        if self.is_full(segment, limit) {
            // Somebody may have made it shorter.
            segment.measure();
            limit = self.limit(segment, now);
            if self.is_full(segment, limit) {
                self.rotate(segment, now)?;
                limit = self.limit(segment, now);
            }
            if self.is_full(segment, limit) {
                // It is somebody else's.
                limit = None;
            }
        }
        let format = self.settings.format;
        if self.batch.rest(format).is_empty() {
            self.make_room(segment, 0, now);
            return Ok(0);
        }
        let Cut::Write(length) = cut(self.batch.rest(format), segment.size, segment.whole, limit) else {
            return Err(Errno::AGAIN);
        };
        self.make_room(segment, length, now);
        segment.write(&self.batch.rest(format)[..length])
    }

    fn is_full(&mut self, segment: &Segment, limit: Option<u64>) -> bool {
        let rest = self.batch.rest(self.settings.format);
        if rest.is_empty() {
            // Nothing more comes: only its age closes it.
            return segment.whole && segment.size > 0 && limit.is_some() && self.is_aged(segment);
        }
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

    fn with_rights<T>(&self, work: impl FnOnce(&Path, Way) -> Result<T, Errno>) -> Result<T, Errno> {
        access::with_rights(self.user.as_deref(), |way| work(&self.path, way))
    }
}
