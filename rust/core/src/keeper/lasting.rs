//! The one reader of output whose place outlives its connection: the control plane, which reads for somebody elsewhere.
//!
//! Control planes come and go. What waits for one that has gone is kept for the next one, within the bounds of any other
//! reader's queue and of its connection, so that it misses nothing that the kernel had not taken, or knows how much. What
//! lies in the socket of one that dies goes with it, as what it had read does: one that leaves in order takes it first.

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
        let unsent = client.take_unsent();
        if let Some(subscription) = client.subscription.take() {
            self.output.put_back(subscription, unsent);
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

#[cfg(test)]
mod tests {
    use super::super::clients::Client;
    use super::super::tests::keeper;
    use super::super::token::Token;
    use super::*;
    use crate::output::{StreamId, SUBSCRIPTION_QUEUE};
    use crate::proto::messages::{Request, Stream};
    use crate::proto::Channel;
    use crate::sys;
    use std::os::fd::AsFd;

    /// A client with this number, and its end of the conversation.
    fn client(keeper: &mut Keeper, id: u64) -> Channel {
        let (ours, theirs) = sys::socket_pair().unwrap();
        let channel = Channel::new(ours).unwrap();
        keeper.watch(channel.as_fd(), Token::Client(id));
        keeper.clients.insert(id, Client::new(channel));
        Channel::new(theirs).unwrap()
    }

    fn ask(keeper: &mut Keeper, id: u64, peer: &mut Channel, workers: &[&str], follow: bool, lasting: bool) {
        let workers = workers.iter().map(|&worker| worker.to_owned()).collect();
        peer.push(&Request::Logs { workers, tail: 9, follow, lasting }).unwrap();
        assert!(peer.flush().unwrap());
        keeper.serve_client(id);
    }

    /// What has come, in short.
    fn heard(keeper: &mut Keeper, peer: &mut Channel) -> Vec<String> {
        keeper.feed_readers();
        let _ = peer.fill(usize::MAX);
        let mut found = Vec::new();
        while let Ok(Some(reply)) = peer.receive::<Reply>() {
            found.push(match reply {
                Reply::Output { data, .. } => String::from_utf8(data.into_vec()).unwrap(),
                Reply::Gap { lines, .. } => format!("gap of {lines}"),
                Reply::TailEnd {} => "end".to_owned(),
                other => format!("{other:?}"),
            });
        }
        found
    }

    fn write(keeper: &mut Keeper, worker: StreamId, text: &str) {
        let _ = keeper.output.ingest(worker, Stream::Stdout, 1, text.as_bytes());
    }

    fn hang_up(keeper: &mut Keeper, id: u64, peer: Channel) {
        drop(peer);
        keeper.serve_client(id);
        assert!(!keeper.clients.contains_key(&id));
    }

    #[test]
    fn the_next_one_goes_on_where_the_one_before_it_was() {
        let (mut keeper, _peer) = keeper();
        let worker = keeper.output.open("w.1", 1, None, None);
        write(&mut keeper, worker, "0\n");
        let mut first = client(&mut keeper, 1);
        ask(&mut keeper, 1, &mut first, &["w"], true, true);
        write(&mut keeper, worker, "1\n");
        assert_eq!(heard(&mut keeper, &mut first), ["0\n", "end", "1\n"]);
        hang_up(&mut keeper, 1, first);
        write(&mut keeper, worker, "2\n");
        let other = keeper.output.open("x.1", 2, None, None);
        let mut second = client(&mut keeper, 2);
        ask(&mut keeper, 2, &mut second, &["w", "x"], true, true);
        write(&mut keeper, other, "of another\n");
        assert_eq!(heard(&mut keeper, &mut second), ["2\n", "of another\n"], "no tail: it was told");
        // One that leaves hears of everything that was sent to it.
        write(&mut keeper, worker, "3\n");
        ask(&mut keeper, 2, &mut second, &[], false, true);
        write(&mut keeper, worker, "4\n");
        let last = heard(&mut keeper, &mut second);
        hang_up(&mut keeper, 2, second);
        let mut third = client(&mut keeper, 3);
        ask(&mut keeper, 3, &mut third, &["w"], true, true);
        let rest = heard(&mut keeper, &mut third);
        assert_eq!(last.last().map(String::as_str), Some("end"));
        assert_eq!([&last[..last.len() - 1], &rest[..]].concat(), ["3\n", "4\n"]);
    }

    /// Far more than a connection and what waits before it hold, and less than a reader's queue and these. Gives it all.
    fn overfill(keeper: &mut Keeper, worker: StreamId) -> Vec<String> {
        let all: Vec<String> = (0..600).map(|n| format!("{n} {}\n", "x".repeat(2_000))).collect();
        for text in &all {
            write(keeper, worker, text);
            keeper.feed_readers();
        }
        all
    }

    /// What the kernel has of a conversation, while the keeper does nothing.
    fn in_the_socket(peer: &mut Channel) -> Vec<String> {
        peer.fill(usize::MAX).unwrap();
        let text = |reply| match reply {
            Reply::Output { data, .. } => Some(String::from_utf8(data.into_vec()).unwrap()),
            _ => None,
        };
        std::iter::from_fn(|| peer.receive().unwrap()).filter_map(text).collect()
    }

    #[test]
    fn what_was_on_its_way_to_one_that_dies_is_the_next_one_s() {
        let (mut keeper, _peer) = keeper();
        let worker = keeper.output.open("w.1", 7, None, None);
        let mut first = client(&mut keeper, 1);
        ask(&mut keeper, 1, &mut first, &["w"], true, true);
        let all = overfill(&mut keeper, worker);
        let had = in_the_socket(&mut first);
        assert!(!had.is_empty() && had.len() < all.len() / 2, "{}", had.len());
        hang_up(&mut keeper, 1, first);
        let mut second = client(&mut keeper, 2);
        ask(&mut keeper, 2, &mut second, &["w"], true, true);
        let mut rest = Vec::new();
        while rest.len() < all.len() - had.len() {
            let before = rest.len();
            rest.extend(heard(&mut keeper, &mut second));
            assert!(rest.len() > before, "{} + {}", had.len(), before);
            keeper.flush_clients();
        }
        assert_eq!([had, rest].concat(), all, "none is missing, none is doubled");
    }

    #[test]
    fn one_that_leaves_is_not_kept_by_what_waits_for_it() {
        let (mut keeper, _peer) = keeper();
        let worker = keeper.output.open("w.1", 7, None, None);
        let mut first = client(&mut keeper, 1);
        ask(&mut keeper, 1, &mut first, &["w"], true, true);
        let all = overfill(&mut keeper, worker);
        let mut had = in_the_socket(&mut first);
        // Asked before, and answered after what waits: not taken back with it.
        first.push(&Request::Info {}).unwrap();
        ask(&mut keeper, 1, &mut first, &[], false, true);
        let mut late = heard(&mut keeper, &mut first);
        assert_eq!(late.pop().as_deref(), Some("end"));
        assert!(late.pop().is_some_and(|answer| answer.starts_with("Info")));
        assert!(late.len() <= 1, "none but the line of which it has the beginning: {}", late.len());
        had.extend(late);
        hang_up(&mut keeper, 1, first);
        let mut second = client(&mut keeper, 2);
        ask(&mut keeper, 2, &mut second, &["w"], true, true);
        while had.len() < all.len() {
            let before = had.len();
            had.extend(heard(&mut keeper, &mut second));
            assert!(had.len() > before, "{before}");
            keeper.flush_clients();
        }
        assert_eq!(had, all);
    }

    #[test]
    fn readers_that_come_and_go_make_what_waits_no_longer_than_its_bound() {
        let (mut keeper, _peer) = keeper();
        let worker = keeper.output.open("w.1", 7, None, None);
        let block = "0123456789abcde\n".repeat(256);
        let mut waiting = Vec::new();
        for id in 1..40 {
            let mut reader = client(&mut keeper, id);
            ask(&mut keeper, id, &mut reader, &["w"], true, true);
            (0..300).for_each(|_| write(&mut keeper, worker, &block));
            keeper.feed_readers();
            hang_up(&mut keeper, id, reader);
            waiting.push(keeper.output.waiting(keeper.held.as_ref().map(|held| held.subscription).unwrap()));
        }
        let most = waiting.iter().max().unwrap();
        assert!(*most > SUBSCRIPTION_QUEUE && *most < SUBSCRIPTION_QUEUE + (512 << 10), "{most}");
    }

    #[test]
    fn what_is_too_much_meanwhile_is_a_gap_that_knows_its_lines() {
        let (mut keeper, _peer) = keeper();
        let worker = keeper.output.open("w.1", 1, None, None);
        let mut first = client(&mut keeper, 1);
        ask(&mut keeper, 1, &mut first, &["w"], true, true);
        hang_up(&mut keeper, 1, first);
        let block = "0123456789abcde\n".repeat(4096);
        (0..40).for_each(|_| write(&mut keeper, worker, &block));
        let mut second = client(&mut keeper, 2);
        ask(&mut keeper, 2, &mut second, &["w"], true, true);
        let (mut lines, mut missing) = (0, 0);
        while lines + missing < 40 * 4096 {
            for each in heard(&mut keeper, &mut second) {
                match each.strip_prefix("gap of ") {
                    Some(number) => missing += number.parse::<usize>().unwrap(),
                    None => lines += each.matches('\n').count(),
                }
            }
            keeper.flush_clients();
        }
        assert!(missing > 0 && lines + missing == 40 * 4096, "{lines} + {missing}");
    }

    #[test]
    fn nobody_is_waited_for_for_ever_or_after_a_farewell() {
        let (mut keeper, _peer) = keeper();
        let mut first = client(&mut keeper, 1);
        ask(&mut keeper, 1, &mut first, &["w"], true, true);
        hang_up(&mut keeper, 1, first);
        let held = keeper.held.as_ref().map(|held| held.subscription).unwrap();
        keeper.now += PATIENCE - 1;
        keeper.attend_held();
        assert!(keeper.held_timer().is_some() && !keeper.output.is_finished(held));
        keeper.now += 1;
        keeper.attend_held();
        assert!(keeper.held_timer().is_none() && keeper.output.is_finished(held));
        let mut second = client(&mut keeper, 2);
        ask(&mut keeper, 2, &mut second, &["w"], true, true);
        // Whoever asks as any other reader does is one from then on.
        ask(&mut keeper, 2, &mut second, &["nobody"], false, false);
        hang_up(&mut keeper, 2, second);
        assert_eq!(keeper.held_timer(), None, "nothing is kept for anybody");
    }
}
