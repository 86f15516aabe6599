//! Output of workers: from the pipes to files, the console, memory and readers.
//!
//! The reactor hands in what it has read ([`Output::ingest`]). Framing, the rings and the queues of
//! subscribers are the reactor's, all of it copying and nothing that waits; files and the console
//! belong to a thread that only writes. Bounds everywhere: a file makes its workers wait while the disk
//! takes data, everything else drops and counts. Whole lines everywhere: nothing tears a line.
//!
//! What no sink gets before it ends is an unterminated line; it is kept until its newline, until
//! [`LINE_CAP`] bytes, or until the stream ends.

mod access;
mod account;
mod backlog;
mod batch;
mod compression;
mod console;
mod cut;
mod destination;
mod file;
mod format;
mod framer;
mod gauge;
mod glob;
mod gzip;
mod index;
mod pattern;
mod prefix;
mod queue;
mod retention;
mod ring;
mod rings;
mod rollover;
mod rotation;
mod sanitize;
mod saved;
mod segment;
mod shared;
mod slab;
mod slot;
mod steering;
mod subscription;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::EventfdFlags;
use serde::{Deserialize, Serialize};

use crate::proto::messages::{Identity, Log, Stream};
use crate::sys;

pub use account::Account;
pub use console::ConsoleConfig;
pub use destination::Kind;
pub use framer::{Framer, Piece, LINE_CAP};
pub use gauge::STALL;
pub use pattern::Pattern;
pub use ring::{Record, Ring, RING_MAX, RING_MIN};
pub use saved::Saved;
pub use shared::{Problem, Trouble};
pub use subscription::{Delivery, Interest, Line, SUBSCRIPTION_QUEUE, TAIL_LIMIT};

use account::Accounts;
use console::Console;
use gauge::Admission;
use rings::Rings;
use saved::Hand;
use shared::{Shared, State};
use slab::Slab;
use slot::Slot;
use subscription::Subscription;
use writer::Writer;

/// All rings together.
const RINGS_LIMIT: usize = 64 * 1024 * 1024;

/// The output of one generation of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StreamId {
    index: u32,
    /// Differs for every generation: a late event of a former one finds nothing.
    epoch: u32,
}

/// One reader of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SubscriptionId(u32);

/// Whether to go on reading a worker's pipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// Read on.
    Continue,
    /// Read nothing of this worker until `take_resumable` names it.
    Pause,
}

/// Bytes of output since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counters {
    pub received: u64,
    pub logged: u64,
    pub log_dropped: u64,
    pub shown: u64,
    /// Too slow a console, or one that nobody reads any more.
    pub console_dropped: u64,
    pub subscribers_dropped: u64,
    /// Memory of all rings, now.
    pub rings: usize,
}

/// The reactor's side. Nothing here waits, except `flush`.
#[derive(Debug)]
pub struct Output {
    shared: Arc<Shared>,
    writer: Hand,
    slots: Slab<Slot>,
    by_name: HashMap<Arc<str>, u32>,
    rings: Rings,
    subscriptions: Slab<Subscription>,
    readable: Vec<SubscriptionId>,
    accounts: Accounts,
    epoch: u32,
    received: u64,
    subscribers_dropped: u64,
}

impl Output {
    /// Starts the writer thread. `wake` is an eventfd that it signals when [`Output::take_resumable`] or
    /// [`Output::take_troubles`] has something. Block all signals before: the thread inherits the mask.
    ///
    /// # Errors
    /// No descriptor or no thread can be had.
    pub fn start(console: ConsoleConfig, wake: OwnedFd) -> io::Result<Output> {
        let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let width = console.width;
        let console = Console::new(console);
        let shared = Arc::new(Shared::new(console.gauge(), width, bell, wake));
        let writer = Writer::new(Arc::clone(&shared), console);
        Ok(Output {
            shared,
            writer: Hand::start(writer)?,
            slots: Slab::default(),
            by_name: HashMap::new(),
            rings: Rings::new(RINGS_LIMIT),
            subscriptions: Slab::default(),
            readable: Vec::new(),
            accounts: Accounts::default(),
            epoch: 0,
            received: 0,
            subscribers_dropped: 0,
        })
    }

    /// What a descriptor leads to; decides for example whether colours are wanted.
    pub fn kind_of(fd: impl AsFd) -> Kind {
        Kind::of(fd.as_fd())
    }

    /// Makes place for a new generation of a worker, whose log files are opened with the rights of `user`.
    /// What the former one wrote last stays in its ring.
    pub fn open(&mut self, worker: &str, generation: u64, log: Option<&Log>, user: Option<&Identity>) -> StreamId {
        self.epoch = self.epoch.wrapping_add(1);
        let index = match self.by_name.get(worker) {
            Some(&index) => {
                self.close(StreamId { index, epoch: self.slots.get(index).map_or(0, |slot| slot.epoch) });
                index
            }
            None => self.new_slot(worker),
        };
        let id = StreamId { index, epoch: self.epoch };
        if let Some(slot) = self.slots.get_mut(index) {
            slot.reopen(self.epoch, generation, sys::wall(), user);
        }
        self.configure(id, log);
        id
    }

    fn new_slot(&mut self, worker: &str) -> u32 {
        let name: Arc<str> = Arc::from(worker);
        let includes = |(id, subscription): (u32, &Subscription)| {
            (subscription.interest.follow && subscription.interest.includes(worker)).then_some(id)
        };
        let readers = self.subscriptions.iter().filter_map(includes).collect();
        let account = self.accounts.of(worker);
        let index = self.slots.insert(Slot::new(Arc::clone(&name), self.rings.add(), readers, account));
        let mut state = self.shared.lock();
        state.console.width = state.console.width.max(name.chars().count());
        self.by_name.insert(name, index);
        index
    }

    fn slot(&mut self, id: StreamId) -> Option<&mut Slot> {
        self.slots.get_mut(id.index).filter(|slot| slot.epoch == id.epoch && slot.is_open)
    }

    /// The generation whose output this is; none once it has been closed.
    pub fn generation(&self, id: StreamId) -> Option<u64> {
        let slot = self.slots.get(id.index).filter(|slot| slot.epoch == id.epoch && slot.is_open)?;
        Some(slot.generation)
    }

    /// Changes where the output goes from now on. What the former file had been promised it still gets.
    pub fn configure(&mut self, id: StreamId, log: Option<&Log>) {
        let shared = Arc::clone(&self.shared);
        let Some(slot) = self.slot(id) else { return };
        let mut state = shared.lock();
        let former = slot.log.take();
        slot.log = log.map(|log| state.attach(log, slot.user.as_ref(), &slot.name));
        if let Some(former) = former {
            state.detach(former, slot.user.as_ref());
            // Who waited for the former file finds himself released.
            state.released.push(former);
        }
        if !state.released.is_empty() || !state.troubles.is_empty() {
            shared.wake_reactor();
        }
        shared.wake_writer(state);
    }

    /// Looks for a line of this generation that matches, until [`Output::take_match`] has said that one came.
    pub fn look_for(&mut self, id: StreamId, pattern: Option<Pattern>) {
        if let Some(slot) = self.slot(id) {
            slot.pattern = pattern;
        }
    }

    /// Whether such a line has come; true once.
    pub fn take_match(&mut self, id: StreamId) -> bool {
        self.slot(id).is_some_and(|slot| std::mem::take(&mut slot.matched))
    }

    /// Takes what was read from a worker at `time` (nanoseconds since the epoch). Never waits; after
    /// [`Flow::Pause`] the data has been taken all the same.
    pub fn ingest(&mut self, id: StreamId, stream: Stream, time: u64, data: &[u8]) -> Flow {
        self.received += data.len() as u64;
        self.distribute(id, stream, time, data.len(), |framer, emit| framer.push(data, emit))
    }

    /// One of the streams has ended: its last line goes out even when unterminated.
    pub fn end(&mut self, id: StreamId, stream: Stream, time: u64) {
        let _ = self.distribute(id, stream, time, 0, |framer, emit| framer.finish(emit));
        if let Some(slot) = self.slots.get_mut(id.index).filter(|slot| slot.epoch == id.epoch && slot.is_open) {
            // The last line had no newline: it is one all the same.
            let lines = u64::from(std::mem::take(&mut slot.within[stream as usize]));
            self.accounts.add(slot.account, &Account { lines, ..Account::default() });
        }
    }

    /// What has become of the output of each queue so far.
    pub fn accounts(&mut self) -> impl Iterator<Item = (&str, &Account)> {
        let abandoned = std::mem::take(&mut self.shared.lock().console.abandoned);
        for (worker, console_dropped) in abandoned {
            let account = self.accounts.of(&worker);
            self.accounts.add(account, &Account { console_dropped, ..Account::default() });
        }
        self.accounts.iter()
    }

    fn distribute<F>(&mut self, id: StreamId, stream: Stream, time: u64, length: usize, frame: F) -> Flow
    where
        F: FnOnce(&mut Framer, &mut dyn FnMut(Piece<'_>)),
    {
        let Self { slots, shared, rings, subscriptions, readable, accounts, subscribers_dropped, .. } = self;
        let Some(slot) = slots.get_mut(id.index).filter(|slot| slot.epoch == id.epoch && slot.is_open) else {
            return Flow::Continue;
        };
        let mut state = shared.lock();
        let mut framer = std::mem::take(&mut slot.framers[stream as usize]);
        let mut left = framer.held() + length;
        let mut counted = Account { bytes: length as u64, ..Account::default() };
        frame(&mut framer, &mut |piece| {
            left -= piece.data.len();
            // Of what is left the framer may keep a line; if more than a ring follows even so, this piece would not stay.
            if left >= RING_MAX + LINE_CAP {
                rings.clear(slot.ring);
            } else {
                rings.push(slot.ring, stream, time, piece);
            }
            slot.look_at(piece);
            let newlines = memchr::memchr_iter(b'\n', piece.data).count() as u64;
            counted.lines += newlines;
            slot.within[stream as usize] = piece.partial;
            push_to_sinks(&mut state, slot, stream, time, piece, &mut counted);
            if !slot.readers.is_empty() {
                let lines = newlines + u64::from(piece.partial);
                counted.readers_dropped += slot.tell_readers(subscriptions, readable, stream, time, piece, lines);
            }
        });
        slot.framers[stream as usize] = framer;
        *subscribers_dropped += counted.readers_dropped;
        accounts.add(slot.account, &counted);
        shared.wake_writer(state);
        if slot.waits() {
            Flow::Pause
        } else {
            Flow::Continue
        }
    }

    /// Nothing more comes of this generation. Its last lines stay readable.
    pub fn close(&mut self, id: StreamId) {
        let time = sys::wall();
        self.end(id, Stream::Stdout, time);
        self.end(id, Stream::Stderr, time);
        let shared = Arc::clone(&self.shared);
        let Some(slot) = self.slot(id) else { return };
        slot.is_open = false;
        (slot.waits_for_file, slot.waits_for_console) = (None, false);
        if let Some(log) = slot.log.take() {
            let mut state = shared.lock();
            state.detach(log, slot.user.as_ref());
            shared.wake_writer(state);
        }
    }

    /// Frees the last lines of a worker that is closed; of one that has a newer generation than this it keeps all.
    pub fn forget(&mut self, worker: &str, generation: u64) {
        let Some(&index) = self.by_name.get(worker) else { return };
        let may_go = self.slots.get(index).is_some_and(|slot| !slot.is_open && slot.generation <= generation);
        if may_go {
            self.by_name.remove(worker);
            if let Some(slot) = self.slots.remove(index) {
                self.rings.remove(slot.ring);
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stop = true;
        state.work = true;
        self.shared.wake_writer(state);
    }
}

fn push_to_sinks(
    state: &mut State,
    slot: &mut Slot,
    stream: Stream,
    time: u64,
    piece: Piece<'_>,
    counted: &mut Account,
) {
    let length = piece.data.len() as u64;
    if let Some(log) = slot.log {
        match state.push_file(log, piece.data, time, &slot.name, stream) {
            Admission::Take => {}
            Admission::TakeAndWait => slot.waits_for_file = Some(log),
            Admission::Drop => counted.file_dropped += length,
        }
    }
    match state.push_console(Some(&slot.label), piece.data) {
        Admission::Take => {}
        Admission::TakeAndWait => slot.waits_for_console = true,
        Admission::Drop => counted.console_dropped += length,
    }
}
