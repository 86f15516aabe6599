//! What keeps a log file small: closed by size or age, the oldest closed ones removed, the others handed on to be compressed.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{LogFile, LAST_RETRY};
use crate::output::compression::Request;
use crate::output::queue::Settings;
use crate::output::segment::Segment;
use crate::output::shared::Problem;
use crate::output::{retention, rotation};
use crate::sys;

/// The state of a file's upkeep.
#[derive(Debug)]
pub(in crate::output) struct Upkeep {
    /// Rotation has failed, and is tried again then.
    rotate_at: Option<Instant>,
    /// So has the removal of closed files.
    trim_at: Option<Instant>,
    /// Bytes of the closed files, or more; none where nobody has looked yet.
    closed: Option<u64>,
    /// Somebody has to look whether there is something to compress, or to clean up.
    pub closed_may_be_compressed: bool,
    /// What fails now (why), or works again (none).
    pub news: Vec<(Problem, Option<Errno>)>,
}

/// As an upgrade hands it on: what fails.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedUpkeep {
    rotation: bool,
    removal: bool,
}

impl Upkeep {
    /// Other settings count from now on. What nobody wants any more does not fail either.
    pub(super) fn change(&mut self, before: &Settings, after: &Settings) {
        self.closed_may_be_compressed |= before.compress != after.compress;
        if after.rotate.is_none() && after.rotate_every.is_none() && self.rotate_at.take().is_some() {
            self.news.push((Problem::Rotation, None));
        }
        if after.total.is_none() && self.trim_at.take().is_some() {
            self.news.push((Problem::Removal, None));
        }
    }

    pub(super) fn save(&self) -> SavedUpkeep {
        let Upkeep { rotate_at, trim_at, closed: _, closed_may_be_compressed: _, news: _ } = self;
        SavedUpkeep { rotation: rotate_at.is_some(), removal: trim_at.is_some() }
    }

    pub(super) fn restore(saved: SavedUpkeep, now: Instant) -> Upkeep {
        let SavedUpkeep { rotation, removal } = saved;
        Upkeep { rotate_at: rotation.then_some(now), trim_at: removal.then_some(now), ..Upkeep::new() }
    }

    /// Of a file that an earlier life may have left in the middle of something.
    pub fn new() -> Self {
        Upkeep { rotate_at: None, trim_at: None, closed: None, closed_may_be_compressed: true, news: Vec::new() }
    }
}

impl LogFile {
    /// The size that the file may have: what is set, or what it has where it is too old. None while rotation cannot be had.
    pub(super) fn limit(&self, segment: &Segment, now: Instant) -> Option<u64> {
        if segment.place.is_none() || self.upkeep.rotate_at.is_some_and(|at| at > now) {
            return None;
        }
        if self.is_aged(segment) {
            return Some(self.settings.rotate.map_or(segment.size, |limit| limit.min(segment.size)));
        }
        self.settings.rotate
    }

    /// Whether it is older than it may be.
    pub(super) fn is_aged(&self, segment: &Segment) -> bool {
        self.ages_in(segment).is_some_and(|left| left.is_zero())
    }

    fn ages_in(&self, segment: &Segment) -> Option<Duration> {
        let (every, began) = (self.settings.rotate_every?, segment.began?);
        let age = u64::try_from(sys::since_boot() - began).unwrap_or(0);
        Some(every.saturating_sub(Duration::from_nanos(age)))
    }

    /// When the file will be too old even if nothing more is written. None where that need not be waited for.
    pub fn ages_at(&self, now: Instant) -> Option<Instant> {
        // Within a line it is closed by the write that ends it.
        let segment = self.segment.as_ref().filter(|segment| segment.whole && segment.place.is_some())?;
        let at = now + self.ages_in(segment)?;
        Some(self.upkeep.rotate_at.map_or(at, |again| again.max(at)))
    }

    /// Goes on with the file that follows on a full one; with the same if that could not be had. An error: it cannot be gone on with either.
    pub(super) fn rotate(&mut self, segment: &mut Segment, now: Instant) -> Result<(), Errno> {
        let keep = self.settings.keep;
        let result = self.with_rights(|path, way| {
            let Some(place) = &segment.place else { return Err(Errno::INVAL) };
            // Renamed by somebody else: the new file has begun already.
            if segment.is_at(path) {
                rotation::shift(place, keep)?;
            }
            Segment::create(place, way).inspect_err(|_| rotation::restore(place, keep))
        });
        self.upkeep.closed = None;
        self.upkeep.closed_may_be_compressed |= self.settings.compress;
        let failure = result.map(|next| *segment = next).err();
        let upkeep = &mut self.upkeep;
        note(&mut upkeep.rotate_at, failure, now, Problem::Rotation, &mut upkeep.news);
        // Removed, because none is kept, and nothing in its place: what is written there is lost.
        failure.filter(|_| segment.is_deleted()).map_or(Ok(()), Err)
    }

    /// Removes the oldest closed files until there is room for `length` bytes more within `total`.
    pub(super) fn make_room(&mut self, segment: &Segment, length: usize, now: Instant) {
        let (Some(total), Some(place)) = (self.settings.total, &segment.place) else { return };
        let room = total.saturating_sub(segment.weight() + length as u64);
        let waits = self.upkeep.trim_at.is_some_and(|at| at > now);
        if waits || self.upkeep.closed.is_some_and(|closed| closed <= room) {
            return;
        }
        let keep = self.settings.keep;
        let (closed, failure) = match self.with_rights(|_, _| Ok(retention::trim(place, keep, room))) {
            Ok((closed, failure)) => (Some(closed), failure),
            Err(errno) => (None, Some(errno)),
        };
        let upkeep = &mut self.upkeep;
        upkeep.closed = closed;
        note(&mut upkeep.trim_at, failure, now, Problem::Removal, &mut upkeep.news);
    }

    /// What there is to compress, or at least to clean up, if anybody has to look.
    pub fn compression(&mut self) -> Option<Request> {
        if !self.upkeep.closed_may_be_compressed {
            return None;
        }
        let place = self.segment.as_ref()?.place.clone()?;
        self.upkeep.closed_may_be_compressed = false;
        let keep = if self.settings.compress { self.settings.keep } else { 0 };
        Some(Request { place, keep, user: self.user.clone(), path: self.path.clone() })
    }
}

/// Remembers when to try again, and says what is new.
fn note(
    again: &mut Option<Instant>,
    failure: Option<Errno>,
    now: Instant,
    problem: Problem,
    news: &mut Vec<(Problem, Option<Errno>)>,
) {
    let before = std::mem::replace(again, failure.map(|_| now + LAST_RETRY));
    if before.is_some() != again.is_some() {
        news.push((problem, failure));
    }
}
