//! What the reactor asks between reads: who may go on, what went wrong, what is left; and the end.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::shared::{State, Trouble};
use super::slot::Slot;
use super::{gauge, Counters, Output, StreamId};

/// What a writer that works gets for its last step, even when the deadline has passed.
const LAST_STEP: Duration = Duration::from_millis(100);

impl Output {
    /// Whether this worker's pipes may be read: false while a file it shares with others has no room.
    /// Ask before each read; what is read after a no makes the queue longer than its bound.
    pub fn may_read(&mut self, id: StreamId) -> bool {
        let shared = Arc::clone(&self.shared);
        let Some(slot) = self.slot(id) else { return true };
        let state = shared.lock();
        if let Some(log) = slot.log.filter(|&log| state.is_waited_for(log)) {
            slot.waits_for_file = Some(log);
        }
        slot.waits_for_console |= state.console.gauge.is_waited_for();
        !slot.waits()
    }

    /// Those whose pipes may be read again. Call it when `wake` was signalled and when [`Output::deadline`] has come.
    pub fn take_resumable(&mut self, now: Instant) -> Vec<StreamId> {
        let mut state = self.shared.lock();
        for id in state.stalled_files(now) {
            state.file_failed(id, rustix::io::Errno::TIMEDOUT.raw_os_error());
        }
        state.check_console(now);
        let files = std::mem::take(&mut state.released);
        let console = std::mem::take(&mut state.console_released);
        drop(state);
        if files.is_empty() && !console {
            return Vec::new();
        }
        let resume = |(index, slot): (u32, &mut Slot)| {
            let waited = slot.waits();
            slot.waits_for_file = slot.waits_for_file.filter(|file| !files.contains(file));
            slot.waits_for_console &= !console;
            (waited && !slot.waits()).then_some(StreamId { index, epoch: slot.epoch })
        };
        self.slots.iter_mut().filter_map(resume).collect()
    }

    /// When [`Output::take_resumable`] has to be called even without a signal: a destination may have stalled then.
    pub fn deadline(&self) -> Option<Instant> {
        let state = self.shared.lock();
        let files = state.waited_for.iter().filter_map(|&id| state.files.get(id)?.gauge.deadline());
        files.chain(state.console.gauge.deadline()).min()
    }

    /// Files that refuse data, and those that take it again, since the last call. A stall is found by
    /// [`Output::take_resumable`]: call that first.
    pub fn take_troubles(&mut self) -> Vec<Trouble> {
        std::mem::take(&mut self.shared.lock().troubles)
    }

    /// All that is wrong with files now, for who has not heard of it.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.shared.lock().files.iter().flat_map(|(_, file)| file.troubles()).collect()
    }

    /// Shows lines of procq itself on the console, without a worker's prefix.
    pub fn console_line(&mut self, text: &str) {
        let mut lines = text.trim_end_matches('\n').as_bytes().to_vec();
        lines.push(b'\n');
        let mut state = self.shared.lock();
        let _ = state.push_console(None, &lines);
        self.shared.wake_writer(state);
    }

    /// Keeps a terminal still, for job control; what is too much meanwhile is dropped and counted. A file goes on.
    pub fn pause_console(&mut self, paused: bool) {
        let mut state = self.shared.lock();
        state.console.paused = paused;
        state.work = true;
        self.shared.wake_writer(state);
    }

    /// Waits until everything is written, or refused, or the deadline has come. True if nothing is left behind.
    pub fn flush(&mut self, deadline: Instant) -> bool {
        let mut state = self.shared.lock();
        state.flushing = true;
        state.work = true;
        self.ring_and_wait(state, deadline, |state| state.is_quiet());
        let mut state = self.shared.lock();
        state.flushing = false;
        state.is_quiet()
    }

    /// Ends the writer thread; what it has not written by the deadline is lost. Gives the last counts.
    pub fn stop(mut self, deadline: Instant) -> Counters {
        self.flush(deadline);
        let mut state = self.shared.lock();
        state.stop = true;
        state.work = true;
        self.ring_and_wait(state, deadline.max(Instant::now() + LAST_STEP), |state| state.finished);
        // A thread that hangs in a dead disk ends with the process.
        if self.shared.lock().finished {
            self.writer.join();
        }
        self.counters()
    }

    fn ring_and_wait(&self, state: MutexGuard<'_, State>, deadline: Instant, done: impl Fn(&State) -> bool) {
        self.shared.wake_writer(state);
        let mut state = self.shared.lock();
        while !done(&state) && Instant::now() < deadline {
            state = self.shared.wait_quiet(state, deadline);
        }
    }

    /// What has become of all output so far.
    pub fn counters(&self) -> Counters {
        let state = self.shared.lock();
        let files = || state.files.iter().map(|(_, file)| &file.gauge);
        Counters {
            received: self.received,
            logged: state.past_delivered + files().map(gauge::Gauge::delivered).sum::<u64>(),
            log_dropped: state.past_lost + files().map(gauge::Gauge::lost_total).sum::<u64>(),
            shown: state.console.gauge.delivered(),
            console_dropped: state.console.gauge.lost_total(),
            subscribers_dropped: self.subscribers_dropped,
            rings: self.rings.total(),
        }
    }
}
