//! The whole output, handed from one image of the keeper to the next.
//!
//! The writer thread rests while it is done: nothing is between a queue and its file but what is written down here.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::event::EventfdFlags;
use serde::{Deserialize, Serialize};

use super::account::{Account, Accounts};
use super::backlog::{Backlog, SavedBacklog};
use super::console::{Console, SavedConsole};
use super::file::{LogFile, SavedFile};
use super::gauge::Gauge;
use super::queue::FileQueue;
use super::rings::{Rings, SavedRing};
use super::shared::{ConsoleQueue, Shared, State};
use super::slab::Slab;
use super::slot::{SavedSlot, Slot};
use super::subscription::Subscription;
use super::writer::Writer;
use super::{ConsoleConfig, Output, SubscriptionId, RINGS_LIMIT};
use crate::state::{Inherited, Luggage};

/// The output of all workers.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    slots: Slab<SavedSlot>,
    rings: Slab<SavedRing>,
    subscriptions: Slab<Subscription>,
    readable: Vec<SubscriptionId>,
    accounts: BTreeMap<String, Account>,
    epoch: u32,
    received: u64,
    subscribers_dropped: u64,
    queues: SavedQueues,
    console: SavedConsole,
    files: BTreeMap<u32, SavedFile>,
}

/// What the reactor and the writer share.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct SavedQueues {
    files: Slab<FileQueue>,
    queued: usize,
    backlog: SavedBacklog,
    gauge: Gauge,
    lost_lines: u64,
    paused: bool,
    width: usize,
    closed: bool,
    abandoned: BTreeMap<String, u64>,
    waited_for: Vec<u32>,
    past_lost: u64,
    past_delivered: u64,
}

/// The writer: in its thread, or without one.
#[derive(Debug)]
pub(super) enum Hand {
    Works(JoinHandle<Box<Writer>>),
    Rests(Box<Writer>),
    /// Its thread could not be waited for.
    Gone,
}

impl Hand {
    pub fn start(writer: Writer) -> io::Result<Hand> {
        let mut hand = Hand::Rests(Box::new(writer));
        hand.go_on()?;
        Ok(hand)
    }

    /// Waits for a thread that has finished.
    pub fn join(&mut self) {
        *self = match std::mem::replace(self, Hand::Gone) {
            Hand::Works(thread) => thread.join().map_or(Hand::Gone, Hand::Rests),
            other => other,
        };
    }

    /// Gives it a thread again.
    fn go_on(&mut self) -> io::Result<()> {
        let writer = match std::mem::replace(self, Hand::Gone) {
            Hand::Rests(writer) => writer,
            other => {
                *self = other;
                return Ok(());
            }
        };
        // The writer gets there by itself: a thread that cannot be had would take it along.
        let place = Arc::new(std::sync::Mutex::new(Some(writer)));
        let theirs = Arc::clone(&place);
        let take = |place: &std::sync::Mutex<Option<Box<Writer>>>| {
            place.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
        };
        let builder = std::thread::Builder::new().name("procq-writer".to_owned()).stack_size(256 * 1024);
        match builder.spawn(move || take(&theirs).expect("put there before").run()) {
            Ok(thread) => *self = Hand::Works(thread),
            Err(error) => {
                *self = take(&place).map_or(Hand::Gone, Hand::Rests);
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Output {
    /// Has everything end that works besides the writer; see [`Output::is_calm`].
    pub fn ask_for_calm(&mut self) {
        let mut state = self.shared.lock();
        state.calm = true;
        state.work = true;
        self.shared.wake_writer(state);
    }

    /// Whether nothing works besides the writer.
    pub fn is_calm(&self) -> bool {
        self.shared.helpers.load(Ordering::Relaxed) == 0
    }

    /// Whether the writer has no thread though it is to work: none could be had.
    pub fn wants_a_thread(&self) -> bool {
        matches!(self.writer, Hand::Rests(_)) && !self.shared.lock().stop
    }

    /// Has the writer thread end after its present step; see [`Output::rests`].
    pub fn ask_to_rest(&mut self) {
        let mut state = self.shared.lock();
        state.stop = true;
        state.work = true;
        self.shared.wake_writer(state);
    }

    /// Whether it has ended, as it was asked to, and who compresses as well. `wake` is signalled when one has.
    pub fn rests(&mut self) -> bool {
        if matches!(self.writer, Hand::Works(_)) && self.shared.lock().finished {
            self.writer.join();
        }
        matches!(self.writer, Hand::Rests(_)) && self.is_calm()
    }

    /// The writer goes on, whether it has come to rest or not.
    ///
    /// # Errors
    /// No thread can be had; nothing is lost, try again.
    pub fn go_on(&mut self) -> io::Result<()> {
        let mut state = self.shared.lock();
        (state.stop, state.calm) = (false, false);
        state.work = true;
        let finished = std::mem::take(&mut state.finished);
        self.shared.wake_writer(state);
        if finished {
            self.writer.join();
        }
        self.writer.go_on()
    }

    /// Everything, while the writer rests; while it does not, what the reactor knows: enough for a trial.
    pub fn save(&self, luggage: &mut Luggage) -> Saved {
        let Output { shared, writer, slots, by_name: _, rings, subscriptions, readable, .. } = self;
        let Output { accounts, epoch, received, subscribers_dropped, .. } = self;
        let (console, files) = match writer {
            Hand::Rests(writer) => writer.save(luggage),
            Hand::Works(_) | Hand::Gone => (SavedConsole::default(), BTreeMap::new()),
        };
        Saved {
            slots: slots.map(|_, slot| slot.save()),
            rings: rings.save(),
            subscriptions: subscriptions.map(|_, subscription| subscription.clone()),
            readable: readable.clone(),
            accounts: accounts.save(),
            epoch: *epoch,
            received: *received,
            subscribers_dropped: *subscribers_dropped,
            queues: save_queues(&shared.lock()),
            console,
            files,
        }
    }

    /// As it was; the writer rests until [`Output::go_on`].
    ///
    /// # Errors
    /// No descriptor can be had.
    pub fn restore(saved: Saved, console: ConsoleConfig, wake: OwnedFd, inherited: &Inherited) -> io::Result<Output> {
        let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let Saved { slots, rings, subscriptions, readable, epoch, received, subscribers_dropped, .. } = saved;
        let mut accounts = Accounts::restore(saved.accounts);
        let slots = slots.map(|_, slot| Slot::restore(slot, &mut accounts));
        let by_name = slots.iter().map(|(index, slot)| (Arc::clone(&slot.name), index)).collect();
        let console = Console::restore(console, saved.console);
        let shared = Arc::new(Shared::with(restore_queues(saved.queues), bell, wake));
        let now = Instant::now();
        let mut files = HashMap::new();
        let mut state = shared.lock();
        for (id, file) in saved.files {
            if let Some(queue) = state.files.get(id) {
                files.insert(id, LogFile::restore(file, queue, now, inherited));
            }
        }
        let all: Vec<u32> = state.files.iter().map(|(id, _)| id).collect();
        all.into_iter().for_each(|id| state.list(id));
        drop(state);
        let writer = Hand::Rests(Box::new(Writer::restore(Arc::clone(&shared), console, files)));
        Ok(Output {
            shared,
            writer,
            slots,
            by_name,
            rings: Rings::restore(RINGS_LIMIT, rings),
            subscriptions,
            readable,
            accounts,
            epoch,
            received,
            subscribers_dropped,
        })
    }
}

fn save_queues(state: &State) -> SavedQueues {
    // What is about the moment (who sleeps, who was woken, what there is to tell) is over when the next image begins.
    let State { files, queued, by_path: _, listed: _, console, spares: _, troubles: _, waited_for, .. } = state;
    let State { released: _, console_released: _, past_lost, past_delivered, work: _, asleep: _, .. } = state;
    let State { flushing: _, stop: _, finished: _, calm: _, .. } = state;
    let ConsoleQueue { backlog, gauge, lost_lines, paused, width, stuck: _, closed, abandoned } = console;
    SavedQueues {
        files: files.map(|_, file| file.clone()),
        queued: *queued,
        backlog: backlog.save(),
        gauge: gauge.clone(),
        lost_lines: *lost_lines,
        paused: *paused,
        width: *width,
        closed: *closed,
        abandoned: abandoned.iter().map(|(worker, bytes)| (worker.to_string(), *bytes)).collect(),
        waited_for: waited_for.clone(),
        past_lost: *past_lost,
        past_delivered: *past_delivered,
    }
}

fn restore_queues(saved: SavedQueues) -> State {
    let SavedQueues { files, queued, backlog, gauge, lost_lines, paused, width, closed, .. } = saved;
    let SavedQueues { abandoned, waited_for, past_lost, past_delivered, .. } = saved;
    let by_path = files.iter().map(|(id, file)| (Arc::clone(&file.path), id)).collect();
    let backlog = Backlog::restore(backlog);
    let abandoned = abandoned.into_iter().map(|(worker, bytes)| (Arc::from(worker), bytes)).collect();
    let console = ConsoleQueue { backlog, gauge, lost_lines, paused, width, stuck: false, closed, abandoned };
    State {
        files,
        queued,
        by_path,
        listed: VecDeque::new(),
        waited_for,
        past_lost,
        past_delivered,
        work: true,
        ..State::new(console)
    }
}
