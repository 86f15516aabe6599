//! `compress`: FILE.3 becomes FILE.3.gz, one file at a time. The bytes are another thread's work ([`super::gzip`]);
//! all names stay with the writer, which rotates meanwhile as it likes.
//!
//! It is written into FILE.gz.tmp, which takes its name when it is on the disk; then the old file goes. Cut off before,
//! a temporary file is left, which is removed when the file is opened next; cut off in between, both are there, and the
//! old one is removed then.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::access::with_rights;
use super::gzip::{Origin, Task};
use super::rotation::{beside, compressed, ignore_missing, is_missing, numbered};
use super::shared::{Problem, Shared};
use crate::proto::messages::Identity;

/// A file whose closed ones cannot be compressed is tried again after this long.
const RETRY: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(60) };

/// The same for one that somebody has changed meanwhile.
const RETRY_CHANGED: Duration = Duration::from_secs(1);

/// Closed files of which some may have to be compressed.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The file they belong to, where it is.
    pub place: PathBuf,
    /// Closed files that there may be; 0 only cleans up.
    pub keep: u32,
    pub user: Option<Arc<Identity>>,
    /// As the manifest names it: for what there is to tell.
    pub path: Arc<Path>,
}

/// A file that is being compressed.
#[derive(Debug)]
struct Job {
    request: Request,
    origin: Origin,
    task: Arc<Task>,
}

/// Knows what is to be compressed; the writer's.
#[derive(Debug)]
pub(super) struct Compressor {
    shared: Arc<Shared>,
    running: Option<Job>,
    wanted: VecDeque<Request>,
    /// What failed, and when it is tried again.
    failed: Vec<(Request, Instant)>,
}

impl Compressor {
    pub fn new(shared: Arc<Shared>) -> Self {
        Compressor { shared, running: None, wanted: VecDeque::new(), failed: Vec::new() }
    }

    /// There may be something to compress, or nothing any more.
    pub fn want(&mut self, request: Request) {
        let same = |other: &Request| other.place == request.place;
        if let Some((failed, _)) = self.failed.iter_mut().find(|(failed, _)| same(failed)) {
            // Its time has not come, however often the file is rotated meanwhile.
            *failed = request;
        } else if let Some(waiting) = self.wanted.iter_mut().find(|waiting| same(waiting)) {
            *waiting = request;
        } else {
            self.wanted.push_back(request);
        }
    }

    /// Ends what is done and begins the next. True if there is news for the reactor.
    pub fn step(&mut self, now: Instant) -> bool {
        let mut news = false;
        if let Some(job) = self.running.take_if(|job| job.task.result().is_some()) {
            let result =
                job.task.result().unwrap_or(Ok(())).and_then(|()| {
                    with_rights(job.request.user.as_deref(), |_| take_the_place(&job.request, &job.origin))
                });
            if result.is_err() {
                let _ = with_rights(job.request.user.as_deref(), |_| clean_up(&job.request.place));
            }
            news |= self.conclude(job.request, result.map(|()| true), now);
        }
        while self.running.is_none() {
            let due = self.failed.iter().position(|(request, at)| *at <= now || request.keep == 0);
            let retried = due.map(|index| self.failed[index].0.clone());
            let Some(request) = retried.or_else(|| self.wanted.pop_front()) else { break };
            match self.begin(&request) {
                // Whether it works now is known when it is done.
                Ok(Some(job)) => self.running = Some(job),
                Ok(None) => news |= self.conclude(request, Ok(false), now),
                Err(errno) => news |= self.conclude(request, Err(errno), now),
            }
        }
        news
    }

    /// When there is something to do that nobody rings for.
    pub fn wakes_at(&self) -> Option<Instant> {
        if self.running.is_some() {
            return None;
        }
        self.failed.iter().map(|(_, at)| *at).min()
    }

    /// Gives up what is under way, and begins it anew should there be another step.
    pub fn give_up(&mut self) {
        if let Some(job) = self.running.take() {
            job.task.cancel();
            let _ = with_rights(job.request.user.as_deref(), |_| clean_up(&job.request.place));
            self.want(job.request);
        }
    }

    /// `Ok`: done, and whether there may be more to do.
    fn conclude(&mut self, request: Request, result: Result<bool, Errno>, now: Instant) -> bool {
        self.failed.retain(|(failed, _)| failed.place != request.place);
        let errno = match result {
            Ok(more) => {
                if more {
                    self.want(request.clone());
                }
                0
            }
            Err(_) if request.keep == 0 => 0,
            // Truncated, say, by who rotates as well. That is no trouble, it only has to be read again.
            Err(Errno::STALE) => {
                self.failed.push((request.clone(), now + RETRY_CHANGED));
                0
            }
            Err(errno) => {
                self.failed.push((request.clone(), now + RETRY));
                errno.raw_os_error()
            }
        };
        let mut state = self.shared.lock();
        let Some(id) = state.file_at(&request.path) else { return false };
        let news = state.files.get(id).is_some_and(|file| file.is_failing(Problem::Compression) != (errno != 0));
        if news {
            state.upkeep_failed(id, Problem::Compression, Some(errno));
        }
        news
    }

    fn begin(&self, request: &Request) -> Result<Option<Job>, Errno> {
        let found = with_rights(request.user.as_deref(), |_| prepare(request))?;
        let Some((source, target, origin)) = found else { return Ok(None) };
        let task = Task::start(source, target, origin, Arc::clone(&self.shared)).map_err(|error| {
            let _ = with_rights(request.user.as_deref(), |_| clean_up(&request.place));
            Errno::from_io_error(&error).unwrap_or(Errno::AGAIN)
        })?;
        Ok(Some(Job { request: request.clone(), origin, task }))
    }
}

fn temporary(file: &Path) -> PathBuf {
    beside(file, ".gz.tmp")
}

fn clean_up(file: &Path) -> Result<(), Errno> {
    ignore_missing(rustix::fs::unlink(temporary(file)))
}

/// The newest closed file that is not compressed, open for reading, and the file to compress it into. The newest, because
/// the others may fall away before their turn comes.
fn prepare(request: &Request) -> Result<Option<(OwnedFd, OwnedFd, Origin)>, Errno> {
    clean_up(&request.place)?;
    let mut failure = None;
    for number in 1..=request.keep {
        match source(&request.place, number) {
            Ok(Some((source, origin))) => {
                return target(&request.place, source.as_fd()).map(|target| Some((source, target, origin)));
            }
            Ok(None) => {}
            Err(errno) => failure = failure.or(Some(errno)),
        }
    }
    failure.map_or(Ok(None), Err)
}

/// A closed file, if there is one of this number that is not compressed.
fn source(file: &Path, number: u32) -> Result<Option<(OwnedFd, Origin)>, Errno> {
    let (plain, gz) = (numbered(file, number), compressed(file, number));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = |path: &Path| rustix::fs::open(path, flags, Mode::empty());
    let fd = match open(&plain) {
        // A link, or what its user may not read, is no file of ours.
        Err(Errno::NOENT | Errno::LOOP | Errno::ACCESS | Errno::PERM) => return Ok(None),
        other => other?,
    };
    let stat = rustix::fs::fstat(&fd)?;
    let origin = Origin::of(&stat);
    // Somebody may have emptied it. That would only grow.
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || origin.size == 0 {
        return Ok(None);
    }
    if !is_missing(&gz) {
        // Either the last step was not done, or somebody else has made it.
        if origin.is_of(open(&gz)?) {
            rustix::fs::unlink(&plain)?;
        }
        return Ok(None);
    }
    Ok(Some((fd, origin)))
}

/// A new file with the owner and the mode of the old one, as far as they may be given.
fn target(file: &Path, source: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::open(temporary(file), flags, Mode::from_raw_mode(0o600))?;
    let stat = rustix::fs::fstat(source)?;
    let (uid, gid) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    let _ = rustix::fs::fchown(&target, Some(uid), Some(gid));
    rustix::fs::fchmod(&target, Mode::from_raw_mode(stat.st_mode & 0o666))?;
    Ok(target)
}

/// Puts the compressed file in the place of the old one, whatever number that has by now; it may have fallen away.
fn take_the_place(request: &Request, origin: &Origin) -> Result<(), Errno> {
    let place = &request.place;
    let is_it = |path: &Path| rustix::fs::lstat(path).is_ok_and(|stat| Origin::of(&stat) == *origin);
    let found = (1..=request.keep).find(|&number| is_it(&numbered(place, number)));
    match found.filter(|&number| is_missing(&compressed(place, number))) {
        Some(number) => {
            rustix::fs::rename(temporary(place), compressed(place, number))?;
            rustix::fs::unlink(numbered(place, number))
        }
        None => clean_up(place),
    }
}
