//! The writer thread: the only one that waits for disks and terminals.
//!
//! It also formats the console's lines. The reactor only copies bytes into queues (some 10 GB/s); prefixing
//! and cleaning cost ten times as much and would delay reaps, here they delay nothing but the console.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::backlog::Backlog;
use super::compression::Compressor;
use super::console::{Console, Progress, SavedConsole};
use super::file::{LogFile, Outcome, SavedFile};
use super::shared::Shared;
use crate::state::Luggage;

/// Spare buffers are given back after this long without work.
const RELAX: Duration = Duration::from_secs(1);

/// State of the thread.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    console: Console,
    files: HashMap<u32, LogFile>,
    /// Files that refused data or have more to write.
    again: Vec<u32>,
    /// When the first of the files will be too old, if nothing is written before. It may have been by then.
    next_age: Option<Instant>,
    compressor: Compressor,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, console: Console) -> Self {
        let compressor = Compressor::new(Arc::clone(&shared));
        Writer { shared, console, files: HashMap::new(), again: Vec::new(), next_age: None, compressor }
    }

    /// Works until told to stop; what it holds by then can be gone on with.
    pub fn run(mut self: Box<Self>) -> Box<Self> {
        loop {
            self.find_aged(Instant::now());
            let worked = self.write_files() | self.write_console();
            let calm = self.shared.lock().calm;
            if calm {
                self.compressor.give_up();
            } else if self.compressor.step(Instant::now()) {
                self.shared.wake_reactor();
            }
            if self.ends() {
                self.compressor.give_up();
                self.shared.quiet.notify_all();
                self.shared.wake_reactor();
                return self;
            }
            if !worked {
                self.sleep();
            }
        }
    }

    /// In one step: who takes his order back finds it obeyed, or never heard.
    fn ends(&self) -> bool {
        let mut state = self.shared.lock();
        state.finished = state.stop;
        state.finished
    }

    /// For an upgrade, while nothing is under way: the console, and the files by number.
    pub fn save(&self, luggage: &mut Luggage) -> (SavedConsole, BTreeMap<u32, SavedFile>) {
        // Who comes looks at every file, and at what there is to compress.
        let Writer { shared: _, console, files, again: _, next_age: _, compressor: _ } = self;
        (console.save(), files.iter().map(|(id, file)| (*id, file.save(luggage))).collect())
    }

    pub fn restore(shared: Arc<Shared>, console: Console, files: HashMap<u32, LogFile>) -> Writer {
        Writer { files, ..Writer::new(shared, console) }
    }

    /// Files that have become too old are due even if nothing more is written.
    fn find_aged(&mut self, now: Instant) {
        if self.next_age.is_none_or(|at| at > now) {
            return;
        }
        self.next_age = None;
        for (&id, file) in &self.files {
            match file.ages_at(now) {
                Some(at) if at <= now && !self.again.contains(&id) => self.again.push(id),
                Some(at) if at > now => self.next_age = earlier(self.next_age, at),
                _ => {}
            }
        }
    }

    /// One step for each file that has something to do.
    fn write_files(&mut self) -> bool {
        let now = Instant::now();
        let due = |id: &u32| self.files.get(id).is_none_or(|file| file.retry.is_none_or(|at| at <= now));
        let mut turn: Vec<u32> = self.again.iter().copied().filter(due).collect();
        self.again.retain(|id| !turn.contains(id));
        let mut state = self.shared.lock();
        state.work = false;
        while let Some(id) = state.next_listed() {
            if !turn.contains(&id) && !self.again.contains(&id) {
                turn.push(id);
            }
        }
        drop(state);
        let mut worked = false;
        for id in turn {
            worked |= self.write_file(id);
        }
        worked
    }

    fn write_file(&mut self, id: u32) -> bool {
        let now = Instant::now();
        if !self.take_over(id, now) {
            return true;
        }
        let Some(file) = self.files.get_mut(&id) else { return false };
        let outcome = file.write(now);
        let done = file.batch.is_done();
        let mut state = self.shared.lock();
        let news = match outcome {
            Outcome::Busy => false,
            Outcome::Wrote(_, done) => state.file_delivered(id, done, Instant::now()),
            Outcome::Failed(errno) => state.file_failed(id, errno.raw_os_error()),
        };
        let news = news || !file.upkeep.news.is_empty();
        for (problem, errno) in file.upkeep.news.drain(..) {
            state.upkeep_failed(id, problem, errno.map(Errno::raw_os_error));
        }
        if let Some(request) = file.compression() {
            self.compressor.want(request);
        }
        if let Some(at) = file.ages_at(now) {
            self.next_age = earlier(self.next_age, at);
        }
        let more = !done || file.retry.is_some();
        if more {
            self.again.push(id);
        } else if state.files.get(id).is_some_and(|queue| !queue.pieces.data.is_empty() || queue.is_left()) {
            state.list(id);
        } else {
            let spare = state.files.get_mut(id).map(|queue| std::mem::take(&mut queue.pieces)).unwrap_or_default();
            state.recycle(spare.data);
            state.recycle(file.batch.give_back());
        }
        drop(state);
        if news {
            self.shared.wake_reactor();
        }
        matches!(outcome, Outcome::Wrote(length, _) if length > 0)
    }

    /// Makes a file ready to write; false if it was closed instead.
    fn take_over(&mut self, id: u32, now: Instant) -> bool {
        let mut state = self.shared.lock();
        if state.retire(id) {
            self.files.remove(&id);
            return false;
        }
        let Some(queue) = state.files.get_mut(id) else { return false };
        let file = self.files.entry(id).or_insert_with(|| LogFile::new(queue, now));
        file.take_over(queue);
        true
    }

    fn write_console(&mut self) -> bool {
        let now = Instant::now();
        let ready = self.console.refill(&mut self.shared.lock(), now);
        if !ready {
            return false;
        }
        let progress = self.console.write(now);
        let shares = if progress == Progress::Closed { self.console.abandon() } else { Vec::new() };
        let mut state = self.shared.lock();
        let gauge = &mut state.console.gauge;
        match progress {
            Progress::Wrote(raw) => _ = gauge.deliver(raw, Instant::now()),
            Progress::Full => state.console.stuck = true,
            Progress::Failed(errno) => _ = gauge.fail(errno.raw_os_error()),
            Progress::Closed => state.console_closed(shares),
        }
        let released = state.console.gauge.release() || progress == Progress::Closed;
        state.console_released |= released;
        drop(state);
        if released {
            self.shared.wake_reactor();
        }
        matches!(progress, Progress::Wrote(_))
    }

    fn sleep(&mut self) {
        let mut state = self.shared.lock();
        if state.flushing && state.is_quiet() {
            self.shared.quiet.notify_all();
        }
        if state.work || state.stop {
            return;
        }
        state.asleep = true;
        let relaxing = !state.spares.is_empty() || !self.console.is_relaxed() && !self.console.blocked;
        drop(state);
        let timeout = self.timeout(relaxing);
        let woken = self.wait(timeout.as_ref());
        let mut state = self.shared.lock();
        state.asleep = false;
        state.console.stuck = self.console.blocked;
        if woken == 0 && relaxing {
            state.spares = Vec::new();
            if state.console.backlog.is_empty() {
                state.console.backlog = Backlog::default();
            }
            self.console.relax();
        }
    }

    fn timeout(&self, relaxing: bool) -> Option<Timespec> {
        let retries = self.again.iter().filter_map(|id| self.files.get(id)?.retry).chain(self.console.retry);
        let retries = retries.chain(self.next_age).chain(self.compressor.wakes_at());
        let now = Instant::now();
        let wait = retries.map(|at| at.saturating_duration_since(now)).chain(relaxing.then_some(RELAX)).min()?;
        // Rounded up, so that a retry is due when the wait ends.
        let wait = wait + Duration::from_millis(1);
        Timespec::try_from(wait).ok()
    }

    /// Waits for work, or for a full console to become ready. Gives the number of reasons found.
    fn wait(&mut self, timeout: Option<&Timespec>) -> usize {
        let bell = self.shared.writer_bell();
        let (rung, ready) = match self.console.waits_for() {
            None => {
                let mut fds = [PollFd::new(bell, PollFlags::IN)];
                let count = poll(&mut fds, timeout).unwrap_or(0);
                (count > 0, false)
            }
            Some(console) => {
                let mut fds = [PollFd::new(bell, PollFlags::IN), PollFd::from_borrowed_fd(console, PollFlags::OUT)];
                let _ = poll(&mut fds, timeout);
                (!fds[0].revents().is_empty(), !fds[1].revents().is_empty())
            }
        };
        if rung {
            silence(bell);
        }
        if ready {
            self.console.blocked = false;
        }
        usize::from(rung) + usize::from(ready)
    }
}

fn earlier(known: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(known.map_or(other, |known| known.min(other)))
}

fn silence(bell: &OwnedFd) {
    let _ = rustix::io::read(bell, &mut [0_u8; 8]);
}
