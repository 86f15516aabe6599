//! What the reactor and the writer thread share: queues under one lock that is never held over a system call
//! that can wait.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::backlog::Backlog;
use super::console::Share;
use super::gauge::{Admission, Gauge, LEFT_BEHIND};
use super::prefix::Label;
use super::queue::{FileQueue, FILE_QUEUE};
use super::slab::Slab;
use crate::proto::messages::{Identity, Log, LogFormat, Stream};

/// Bytes waiting for all files together before each gets only a small queue.
const ALL_FILE_QUEUES: usize = 32 * 1024 * 1024;
/// The queue of a file while there is that much.
const CROWDED_FILE_QUEUE: usize = 128 * 1024;
/// Bytes waiting for all files together before no file keeps more of the dead than that.
const ALL_LEFT_BEHIND: usize = 64 * 1024 * 1024;
/// Room for procq's own lines on a console that is full.
const OWN_LINES: usize = 256 * 1024;
/// Spare buffers kept while data flows, so that a busy queue does not go through the allocator.
const SPARES: usize = 4;
const SPARE_SIZE: usize = 1024 * 1024;

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Problem {
    /// It refuses data, or takes it again.
    Data,
    /// It cannot be rotated and goes on growing, or it can again.
    Rotation,
    /// A closed one cannot be compressed, or can again.
    Compression,
    /// Closed ones that are too much cannot be removed, or can again.
    Removal,
    /// It is in use with the rights of somebody else than this worker's user.
    Rights,
}

/// Something is wrong with a file, or right again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What.
    pub problem: Problem,
    /// The worker that named the file first; where it is about rights, the one that came later.
    pub worker: String,
    /// The file.
    pub path: PathBuf,
    /// Why, or 0 when it is over.
    pub errno: i32,
    /// Bytes lost from the beginning to the end of the trouble.
    pub dropped: u64,
}

#[derive(Debug)]
pub(super) struct ConsoleQueue {
    pub backlog: Backlog,
    pub gauge: Gauge,
    pub lost_lines: u64,
    pub paused: bool,
    /// Columns of the longest name seen.
    pub width: usize,
    /// The destination is full: the writer waits for it and need not be woken for more.
    pub stuck: bool,
    /// Nobody reads any more.
    pub closed: bool,
    /// Bytes of each worker that waited when that began, until they are in its account.
    pub abandoned: HashMap<Arc<str>, u64>,
}

#[derive(Debug)]
pub(super) struct State {
    pub files: Slab<FileQueue>,
    /// Bytes waiting for all files.
    pub queued: usize,
    pub by_path: HashMap<Arc<Path>, u32>,
    pub listed: VecDeque<u32>,
    pub console: ConsoleQueue,
    pub spares: Vec<Vec<u8>>,
    pub troubles: Vec<Trouble>,
    /// Files that workers wait for.
    pub waited_for: Vec<u32>,
    /// Files whose waiting workers may go on.
    pub released: Vec<u32>,
    pub console_released: bool,
    /// Bytes lost in files that are closed by now, and delivered to them.
    pub past_lost: u64,
    pub past_delivered: u64,
    /// Something has come since the writer last looked that it can work on.
    pub work: bool,
    /// The writer sleeps, or is about to.
    pub asleep: bool,
    /// Somebody waits for `quiet`.
    pub flushing: bool,
    pub stop: bool,
    pub finished: bool,
    /// Nothing is to be compressed for now.
    pub calm: bool,
}

/// One per `Output`.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Signalled when the writer runs out of work.
    pub quiet: Condvar,
    to_writer: OwnedFd,
    to_reactor: OwnedFd,
    /// Threads besides the writer that still do something.
    pub helpers: AtomicUsize,
}

impl Shared {
    pub fn new(console: Gauge, width: usize, to_writer: OwnedFd, to_reactor: OwnedFd) -> Self {
        let console = ConsoleQueue {
            backlog: Backlog::default(),
            gauge: console,
            lost_lines: 0,
            paused: false,
            width,
            stuck: false,
            closed: false,
            abandoned: HashMap::new(),
        };
        Shared::with(State::new(console), to_writer, to_reactor)
    }

    pub fn with(state: State, to_writer: OwnedFd, to_reactor: OwnedFd) -> Self {
        Shared { state: Mutex::new(state), quiet: Condvar::new(), to_writer, to_reactor, helpers: AtomicUsize::new(0) }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves counters at worst one step behind; stopping the output would be worse.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn wait_quiet<'a>(&'a self, state: MutexGuard<'a, State>, until: Instant) -> MutexGuard<'a, State> {
        let left = until.saturating_duration_since(Instant::now());
        self.quiet.wait_timeout(state, left).map_or_else(|poison| poison.into_inner().0, |(state, _)| state)
    }

    pub fn writer_bell(&self) -> &OwnedFd {
        &self.to_writer
    }

    /// Wakes the writer if it sleeps; costs nothing while it works.
    pub fn wake_writer(&self, mut state: MutexGuard<'_, State>) {
        if state.work && std::mem::take(&mut state.asleep) {
            drop(state);
            ring_bell(&self.to_writer);
        }
    }

    /// Has the writer look again, from any thread and without a lock.
    pub fn ring_writer(&self) {
        ring_bell(&self.to_writer);
    }

    pub fn wake_reactor(&self) {
        ring_bell(&self.to_reactor);
    }
}

fn ring_bell(bell: &OwnedFd) {
    // The only failure is a counter at its limit, and then the other side has been woken already.
    let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
}

impl State {
    /// Nothing yet.
    pub fn new(console: ConsoleQueue) -> State {
        State {
            files: Slab::default(),
            queued: 0,
            by_path: HashMap::new(),
            listed: VecDeque::new(),
            console,
            spares: Vec::new(),
            troubles: Vec::new(),
            waited_for: Vec::new(),
            released: Vec::new(),
            console_released: false,
            past_lost: 0,
            past_delivered: 0,
            work: false,
            asleep: false,
            flushing: false,
            stop: false,
            finished: false,
            calm: false,
        }
    }

    /// Joins the queue of a file, opening it if nobody else writes there. Those who are there already go by the same settings from now on.
    pub fn attach(&mut self, log: &Log, user: Option<&Arc<Identity>>, owner: &Arc<str>) -> u32 {
        let id = match self.by_path.get(log.path()) {
            Some(&id) => id,
            None => self.new_file(log, user, owner),
        };
        if self.files.get_mut(id).is_some_and(|file| file.join(log, user)) {
            let (worker, path) = (owner.to_string(), log.path().to_path_buf());
            self.troubles.push(Trouble { problem: Problem::Rights, worker, path, errno: 0, dropped: 0 });
        }
        self.list(id);
        self.release(id);
        id
    }

    fn new_file(&mut self, log: &Log, user: Option<&Arc<Identity>>, owner: &Arc<str>) -> u32 {
        let queue = FileQueue::new(log, user, owner);
        let path = Arc::clone(&queue.path);
        let id = self.files.insert(queue);
        self.by_path.insert(path, id);
        id
    }

    /// Leaves a file; the writer closes it when the last one has left and all is written.
    pub fn detach(&mut self, id: u32, user: Option<&Arc<Identity>>) {
        if let Some(file) = self.files.get_mut(id) {
            file.leave(user);
            self.list(id);
        }
    }

    /// Forgets a file that nobody uses and that has nothing left to write. True if so.
    pub fn retire(&mut self, id: u32) -> bool {
        if !self.files.get(id).is_some_and(|file| file.is_left() && file.gauge.pending() == 0) {
            return false;
        }
        if let Some(file) = self.files.remove(id) {
            self.by_path.remove(&file.path);
            self.past_lost += file.gauge.lost_total();
            self.past_delivered += file.gauge.delivered();
        }
        true
    }

    /// The writer has to look at this file.
    pub fn list(&mut self, id: u32) {
        if let Some(file) = self.files.get_mut(id) {
            if !std::mem::replace(&mut file.listed, true) {
                self.listed.push_back(id);
            }
            self.work = true;
        }
    }

    pub fn next_listed(&mut self) -> Option<u32> {
        let id = self.listed.pop_front()?;
        if let Some(file) = self.files.get_mut(id) {
            file.listed = false;
        }
        Some(id)
    }

    /// Queues whole lines, read from a worker at `time`, for a file.
    pub fn push_file(&mut self, id: u32, data: &[u8], time: u64, worker: &Arc<str>, stream: Stream) -> Admission {
        let Some(file) = self.files.get_mut(id) else { return Admission::Drop };
        let capacity = if self.queued < ALL_FILE_QUEUES { FILE_QUEUE } else { CROWDED_FILE_QUEUE };
        // Short lines, each read by itself: what is known of them takes more room than they do.
        file.gauge.capacity = capacity.saturating_sub(file.pieces.overhead()).max(1);
        file.gauge.left_behind = if self.queued < ALL_LEFT_BEHIND { LEFT_BEHIND } else { 0 };
        let admission = file.gauge.offer(data.len());
        if admission != Admission::Drop {
            self.queued += data.len();
            if file.pieces.data.capacity() == 0 {
                file.pieces.data = self.spares.pop().unwrap_or_default();
            }
            match file.settings.format {
                LogFormat::Text => file.pieces.push_plain(data, time),
                LogFormat::Prefixed | LogFormat::Json => file.pieces.push_lines(data, time, worker, stream),
            }
            if admission == Admission::TakeAndWait && !self.waited_for.contains(&id) {
                self.waited_for.push(id);
            }
            self.list(id);
        }
        admission
    }

    /// Gives back a buffer that is empty now.
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        let size = buffer.capacity();
        if (SPARE_SIZE / 16..=SPARE_SIZE).contains(&size) && self.spares.len() < SPARES {
            buffer.clear();
            self.spares.push(buffer);
        }
    }

    /// A file refuses data. True if that is news for the reactor.
    pub fn file_failed(&mut self, id: u32, errno: i32) -> bool {
        let Some(file) = self.files.get_mut(id) else { return false };
        if !file.gauge.fail(errno) {
            return false;
        }
        let trouble = file.trouble(Problem::Data, errno, 0);
        self.troubles.push(trouble);
        self.release(id);
        true
    }

    /// What has to be done beside a file fails (why), or works again (none).
    pub fn upkeep_failed(&mut self, id: u32, problem: Problem, errno: Option<i32>) {
        if let Some(file) = self.files.get_mut(id) {
            let trouble = file.upkeep(problem, errno.unwrap_or(0));
            self.troubles.push(trouble);
        }
    }

    /// The file of this path, while anybody uses it.
    pub fn file_at(&self, path: &Path) -> Option<u32> {
        self.by_path.get(path).copied()
    }

    /// Whether somebody waits for this file, so that others had better wait too.
    pub fn is_waited_for(&self, id: u32) -> bool {
        self.files.get(id).is_some_and(|file| file.gauge.is_waited_for())
    }

    /// Files whose workers have waited for nothing for too long.
    pub fn stalled_files(&self, now: Instant) -> Vec<u32> {
        let stalled = |id: &u32| self.files.get(*id).is_some_and(|file| file.gauge.is_stalled(now));
        self.waited_for.iter().copied().filter(stalled).collect()
    }

    /// A console that makes workers wait (a file) must not do so for nothing either.
    pub fn check_console(&mut self, now: Instant) {
        if self.console.gauge.is_stalled(now) {
            self.console.gauge.fail(rustix::io::Errno::TIMEDOUT.raw_os_error());
        }
        self.console_released |= self.console.gauge.release();
    }

    /// A file took data. True if that is news for the reactor.
    pub fn file_delivered(&mut self, id: u32, length: usize, now: Instant) -> bool {
        let Some(file) = self.files.get_mut(id) else { return false };
        self.queued -= length;
        let recovered = file.gauge.deliver(length, now);
        if let Some(dropped) = recovered {
            self.troubles.push(file.trouble(Problem::Data, 0, dropped));
        }
        if file.gauge.is_waited_for() && !self.waited_for.contains(&id) {
            self.waited_for.push(id);
        }
        self.release(id) || recovered.is_some()
    }

    /// Lets those go on who wait for a file, if there is room. True if somebody waited.
    fn release(&mut self, id: u32) -> bool {
        let released = self.files.get_mut(id).is_some_and(|file| file.gauge.release());
        if released {
            self.waited_for.retain(|&waited| waited != id);
            self.released.push(id);
        }
        released
    }

    /// Queues whole lines for the console; without a label they are procq's own, for which there is always some room.
    pub fn push_console(&mut self, label: Option<&Arc<Label>>, data: &[u8]) -> Admission {
        if self.console.closed {
            self.console.gauge.lose(data.len());
            return Admission::Drop;
        }
        let extra = if label.is_none() { OWN_LINES } else { 0 };
        let admission = self.console.gauge.offer_within(data.len(), extra);
        if admission == Admission::Drop {
            self.console.lost_lines += memchr::memchr_iter(b'\n', data).count().max(1) as u64;
        } else {
            self.note_losses();
            self.console.backlog.push(label.cloned(), data);
        }
        self.work |= !self.console.stuck;
        admission
    }

    /// Nobody reads the console any more: all that waits for it is lost, these shares that the writer had among it.
    pub fn console_closed(&mut self, shares: Vec<Share>) {
        let console = &mut self.console;
        console.closed = true;
        console.lost_lines = 0;
        console.gauge.abandon(console.gauge.pending());
        let backlog = std::mem::take(&mut console.backlog);
        for (label, bytes) in shares.into_iter().chain(backlog.shares()) {
            if let Some(label) = label {
                *console.abandoned.entry(label.shared_name()).or_default() += bytes as u64;
            }
        }
    }

    /// Puts a line about lost lines where they are missing.
    pub fn note_losses(&mut self) {
        if self.console.lost_lines > 0 && !self.console.gauge.in_trouble() {
            let lines = std::mem::take(&mut self.console.lost_lines);
            self.console.gauge.take_lost();
            self.console.backlog.push_loss(lines);
        }
    }

    /// Nothing is left to write, except where the destination refuses it.
    pub fn is_quiet(&self) -> bool {
        let console = &self.console;
        let console_done =
            console.closed || console.gauge.in_trouble() || console.gauge.pending() == 0 && console.lost_lines == 0;
        console_done && self.files.iter().all(|(_, file)| file.gauge.pending() == 0 || file.gauge.in_trouble())
    }
}

#[cfg(test)]
mod tests {
    use super::super::gauge::Policy;
    use super::*;

    #[test]
    fn what_the_dead_leave_for_all_full_disks_together_has_a_bound() {
        const CHUNK: usize = 64 * 1024;
        let bell = || rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        let shared = Shared::new(Gauge::new(Policy::Drop, 0, Instant::now()), 0, bell(), bell());
        let mut state = shared.lock();
        let owner = Arc::from("w.1");
        for n in 0..200 {
            let log = Log { block: true, ..Log::at(Path::new(&format!("/log/{n}"))) };
            let id = state.attach(&log, None, &owner);
            state.push_file(id, &[b'x'; CHUNK], 1, &owner, Stream::Stdout);
            state.file_failed(id, 28);
            // Nobody who is dead can be told to wait.
            for _ in 0..400 {
                state.push_file(id, &[b'x'; CHUNK], 1, &owner, Stream::Stdout);
            }
        }
        let bound = ALL_LEFT_BEHIND + FILE_QUEUE + LEFT_BEHIND + 200 * (CROWDED_FILE_QUEUE + CHUNK);
        assert!(state.queued > ALL_LEFT_BEHIND && state.queued <= bound, "{}", state.queued);
        let lost: u64 = state.files.iter().map(|(_, file)| file.gauge.lost_total()).sum();
        assert_eq!(state.queued as u64 + lost, 200 * 401 * CHUNK as u64, "to the byte");
    }

    #[test]
    fn many_flooded_files_together_stay_within_a_bound_and_lose_nothing() {
        const CHUNK: usize = 64 * 1024;
        let bell = || rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        let console = Gauge::new(Policy::Drop, 0, Instant::now());
        let shared = Shared::new(console, 0, bell(), bell());
        let mut state = shared.lock();
        let owner = Arc::from("w.1");
        let files: Vec<u32> =
            (0..200).map(|n| state.attach(&Log::at(Path::new(&format!("/log/{n}"))), None, &owner)).collect();
        for &id in &files {
            while state.push_file(id, &[b'x'; CHUNK], 1, &owner, Stream::Stdout) == Admission::Take {}
        }
        assert!(state.queued <= ALL_FILE_QUEUES + FILE_QUEUE + 200 * (CROWDED_FILE_QUEUE + CHUNK), "{}", state.queued);
        let pending: usize = files.iter().filter_map(|id| Some(state.files.get(*id)?.gauge.pending())).sum();
        assert_eq!(pending, state.queued);
        for &id in &files {
            let length = state.files.get(id).map_or(0, |file| file.gauge.pending());
            state.file_delivered(id, length, Instant::now());
        }
        assert_eq!((state.queued, state.released.len()), (0, 200));
    }
}
