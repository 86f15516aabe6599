//! What the reactor knows of one worker's output.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::account::Accounts;
use super::framer::{Framer, Piece};
use super::pattern::Pattern;
use super::prefix::Label;
use super::slab::Slab;
use super::subscription::{Line, Subscription};
use super::SubscriptionId;
use crate::proto::messages::{Identity, Stream};

/// One worker, over its generations.
#[derive(Debug)]
pub(super) struct Slot {
    pub name: Arc<str>,
    pub generation: u64,
    /// When that began, in nanoseconds since the epoch; 0 where it is not known.
    pub since: u64,
    pub epoch: u32,
    pub is_open: bool,
    /// With whose rights its log files are opened.
    pub user: Option<Arc<Identity>>,
    /// The file for which its pipes are not read.
    pub waits_for_file: Option<u32>,
    pub waits_for_console: bool,
    pub framers: [Framer; 2],
    pub label: Arc<Label>,
    pub ring: u32,
    pub log: Option<u32>,
    /// Subscriptions that follow it.
    pub readers: Vec<u32>,
    /// Where the output of its queue is counted.
    pub account: Option<u32>,
    /// Of each stream, whether the line that came last goes on.
    pub within: [bool; 2],
    /// What a line is looked for that tells of readiness; none once it has come.
    pub pattern: Option<Pattern>,
    pub matched: bool,
}

/// As an upgrade hands it on.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedSlot {
    name: String,
    generation: u64,
    since: u64,
    epoch: u32,
    is_open: bool,
    user: Option<Identity>,
    waits_for_file: Option<u32>,
    waits_for_console: bool,
    framers: [Framer; 2],
    ring: u32,
    log: Option<u32>,
    readers: Vec<u32>,
    within: [bool; 2],
}

impl Slot {
    pub fn save(&self) -> SavedSlot {
        // The label follows from the name.
        let Slot { name, generation, since, epoch, is_open, user, waits_for_file, .. } = self;
        let Slot { waits_for_console, framers, label: _, ring, log, readers, within, .. } = self;
        // The keeper looks for it anew; the account is that of its queue.
        let Slot { pattern: _, matched: _, account: _, .. } = self;
        SavedSlot {
            name: name.to_string(),
            generation: *generation,
            since: *since,
            epoch: *epoch,
            is_open: *is_open,
            user: user.as_deref().cloned(),
            waits_for_file: *waits_for_file,
            waits_for_console: *waits_for_console,
            framers: framers.clone(),
            ring: *ring,
            log: *log,
            readers: readers.clone(),
            within: *within,
        }
    }

    pub fn restore(saved: &SavedSlot, accounts: &mut Accounts) -> Slot {
        let name: Arc<str> = Arc::from(saved.name.as_str());
        Slot {
            label: Arc::new(Label::new(Arc::clone(&name))),
            account: accounts.of(&name),
            name,
            generation: saved.generation,
            since: saved.since,
            epoch: saved.epoch,
            is_open: saved.is_open,
            user: saved.user.clone().map(Arc::new),
            waits_for_file: saved.waits_for_file,
            waits_for_console: saved.waits_for_console,
            framers: saved.framers.clone(),
            ring: saved.ring,
            log: saved.log,
            readers: saved.readers.clone(),
            within: saved.within,
            pattern: None,
            matched: false,
        }
    }

    pub fn new(name: Arc<str>, ring: u32, readers: Vec<u32>, account: Option<u32>) -> Self {
        Slot {
            label: Arc::new(Label::new(Arc::clone(&name))),
            name,
            generation: 0,
            since: 0,
            epoch: 0,
            is_open: false,
            user: None,
            waits_for_file: None,
            waits_for_console: false,
            framers: Default::default(),
            ring,
            log: None,
            readers,
            account,
            within: [false; 2],
            pattern: None,
            matched: false,
        }
    }

    pub fn reopen(&mut self, epoch: u32, generation: u64, since: u64, user: Option<&Identity>) {
        self.user = user.cloned().map(Arc::new);
        (self.epoch, self.generation, self.since, self.is_open) = (epoch, generation, since, true);
        (self.pattern, self.matched) = (None, false);
    }

    /// Looks for the line that is awaited, if one is.
    pub fn look_at(&mut self, piece: Piece<'_>) {
        if self.pattern.as_ref().is_some_and(|pattern| pattern.is_in(piece.data)) {
            (self.pattern, self.matched) = (None, true);
        }
    }

    pub fn waits(&self) -> bool {
        self.waits_for_file.is_some() || self.waits_for_console
    }

    /// Copies the piece, of so many `lines`, once for all who follow and have room. Gives the bytes lost by slow ones.
    pub fn tell_readers(
        &self,
        subscriptions: &mut Slab<Subscription>,
        readable: &mut Vec<SubscriptionId>,
        stream: Stream,
        time: u64,
        piece: Piece<'_>,
        lines: u64,
    ) -> u64 {
        let mut data: Option<Bytes> = None;
        let mut lost = 0;
        for &reader in &self.readers {
            let Some(subscription) = subscriptions.get_mut(reader) else { continue };
            if subscription.announce() {
                readable.push(SubscriptionId(reader));
            }
            if !subscription.has_room(piece.data.len()) {
                lost += subscription.lose(piece.data.len(), lines);
                continue;
            }
            let data = data.get_or_insert_with(|| Bytes::copy_from_slice(piece.data)).clone();
            let (worker, generation, partial) = (Arc::clone(&self.name), self.generation, piece.partial);
            subscription.push(Line { worker, generation, stream, time, data, partial });
        }
        lost
    }
}
