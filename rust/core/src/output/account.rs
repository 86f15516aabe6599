//! What has become of each queue's output, in plain numbers: they outlive its workers, and the control plane.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Queues that are remembered: names are chosen by whoever writes manifests.
const MOST: usize = 100_000;

/// The output of one queue since the start. What is dropped is counted in bytes, by who did not get it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// Bytes that its workers wrote.
    pub bytes: u64,
    /// Lines of that: those that have ended, and what had no end when its stream had.
    pub lines: u64,
    /// Too slow a console, or one that nobody reads any more: what waited for it when that began is among it.
    pub console_dropped: u64,
    /// A log file that took no data.
    pub file_dropped: u64,
    /// Readers that were too slow, each counted for itself.
    pub readers_dropped: u64,
}

impl Account {
    fn add(&mut self, more: &Account) {
        let Account { bytes, lines, console_dropped, file_dropped, readers_dropped } = more;
        self.bytes += bytes;
        self.lines += lines;
        self.console_dropped += console_dropped;
        self.file_dropped += file_dropped;
        self.readers_dropped += readers_dropped;
    }
}

/// The accounts of all queues, by number.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    items: Vec<(Arc<str>, Account)>,
    by_queue: HashMap<Arc<str>, u32>,
}

impl Accounts {
    /// The account of a worker's queue; none of who belongs to no queue, or where there are too many.
    pub fn of(&mut self, worker: &str) -> Option<u32> {
        let (queue, _) = worker.rsplit_once('.')?;
        if let Some(&index) = self.by_queue.get(queue) {
            return Some(index);
        }
        (self.items.len() < MOST).then(|| self.begin(Arc::from(queue), Account::default()))
    }

    fn begin(&mut self, queue: Arc<str>, account: Account) -> u32 {
        let index = self.items.len() as u32;
        self.items.push((Arc::clone(&queue), account));
        self.by_queue.insert(queue, index);
        index
    }

    pub fn add(&mut self, index: Option<u32>, more: &Account) {
        if let Some((_, account)) = index.and_then(|index| self.items.get_mut(index as usize)) {
            account.add(more);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Account)> {
        self.items.iter().map(|(queue, account)| (&**queue, account))
    }

    pub fn save(&self) -> BTreeMap<String, Account> {
        self.iter().map(|(queue, account)| (queue.to_owned(), *account)).collect()
    }

    pub fn restore(saved: BTreeMap<String, Account>) -> Accounts {
        let mut accounts = Accounts::default();
        for (queue, account) in saved {
            accounts.begin(Arc::from(queue), account);
        }
        accounts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_of_a_queue_share_an_account_that_outlives_an_upgrade() {
        let mut accounts = Accounts::default();
        let (first, second) = (accounts.of("mail.1"), accounts.of("mail.2"));
        assert_eq!(first, second);
        assert_eq!(accounts.of("procq"), None, "the control plane is no queue");
        assert_ne!(accounts.of("mail.1.1"), first, "a queue may have a dot in its name");
        accounts.add(first, &Account { bytes: 7, lines: 1, ..Account::default() });
        accounts.add(second, &Account { bytes: 3, console_dropped: 2, ..Account::default() });
        accounts.add(None, &Account { bytes: 100, ..Account::default() });
        let mut restored = Accounts::restore(accounts.save());
        let mail = restored.of("mail.9");
        restored.add(mail, &Account { lines: 1, ..Account::default() });
        let expected = Account { bytes: 10, lines: 2, console_dropped: 2, ..Account::default() };
        assert_eq!(restored.iter().find(|(queue, _)| *queue == "mail"), Some(("mail", &expected)));
    }

    #[test]
    fn a_great_many_names_are_not_all_remembered() {
        let mut accounts = Accounts::default();
        let known = (0..=MOST).filter(|n| accounts.of(&format!("q{n}.1")).is_some()).count();
        assert_eq!(known, MOST);
        assert!(accounts.of("q0.2").is_some(), "those that are known stay so");
    }
}
