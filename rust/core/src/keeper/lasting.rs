//! The one reader of output whose place outlives its connection: the control plane, which reads for somebody elsewhere.
//!
//! Control planes come and go. What waits for one that has gone is kept for the next one, within the bounds of any other
//! reader's queue, so that it misses nothing in between, or knows how much.

use super::Keeper;
use crate::output::{Account, Interest, SubscriptionId};
use crate::proto::messages::{OutputAccount, Reply};

/// Nanoseconds for which what waits is kept for another one.
const PATIENCE: u64 = 60_000_000_000;
/// Queues in one frame.
const ITEMS: usize = 1_000;

/// What waits for the next one.
pub(super) struct Held {
    pub subscription: SubscriptionId,
    /// When it is forgotten.
    pub until: u64,
}

impl Keeper {
    /// A client begins to read, goes on where the one before it was, follows others, or leaves.
    pub(super) fn follow_lasting(&mut self, id: u64, interest: Interest) {
        let own = self.clients.get(&id).filter(|client| client.lasting).and_then(|client| client.subscription);
        if !interest.follow {
            if own.is_some() {
                self.leave_lasting(id);
            }
            return self.reply(id, &Reply::TailEnd {});
        }
        match own.or_else(|| self.held.take().map(|held| held.subscription)) {
            Some(subscription) => {
                self.output.redirect(subscription, interest.workers);
                self.reads(id, Some(subscription), true);
            }
            None => {
                let subscription = self.output.subscribe(interest);
                self.reads(id, Some(subscription), true);
            }
        }
    }

    fn leave_lasting(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.lasting = false;
        if let Some(subscription) = client.subscription.take() {
            self.hold(subscription);
        }
    }

    /// Has a client read from this, and from nothing else any more.
    pub(super) fn reads(&mut self, id: u64, subscription: Option<SubscriptionId>, lasting: bool) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.lasting = lasting;
        let former = std::mem::replace(&mut client.subscription, subscription);
        if let Some(former) = former.filter(|_| former != subscription) {
            self.output.unsubscribe(former);
        }
    }

    /// Its reader has gone: another one may come.
    pub(super) fn hold(&mut self, subscription: SubscriptionId) {
        let held = Held { subscription, until: self.now.saturating_add(PATIENCE) };
        if let Some(former) = self.held.replace(held) {
            self.output.unsubscribe(former.subscription);
        }
    }

    /// When what waits is forgotten.
    pub(super) fn held_timer(&self) -> Option<u64> {
        self.held.as_ref().map(|held| held.until)
    }

    /// Nobody has come.
    pub(super) fn attend_held(&mut self) {
        if let Some(held) = self.held.take_if(|held| held.until <= self.now) {
            self.output.unsubscribe(held.subscription);
        }
    }

    /// What has become of the output of all queues, in as many frames as it takes.
    pub(super) fn tell_accounts(&mut self, id: u64) {
        let mut items: Vec<OutputAccount> = self.output.accounts().map(OutputAccount::from).collect();
        loop {
            let rest = items.split_off(items.len().min(ITEMS));
            let last = rest.is_empty();
            self.reply(id, &Reply::Accounts { items, last });
            if last {
                return;
            }
            items = rest;
        }
    }
}

impl From<(&str, &Account)> for OutputAccount {
    fn from((queue, account): (&str, &Account)) -> OutputAccount {
        let Account { bytes, lines, console_dropped, file_dropped, readers_dropped } = *account;
        OutputAccount { queue: queue.to_owned(), bytes, lines, console_dropped, file_dropped, readers_dropped }
    }
}
