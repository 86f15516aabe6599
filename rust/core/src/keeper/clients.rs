//! The keeper's own socket: info, stop, logs. Works when no control plane does.

use super::shutdown::Haste;
use super::token::Token;
use super::Keeper;
use crate::output::{Delivery, Interest, Line, SubscriptionId};
use crate::proto::messages::{Phase, Reply, Request, VERSION};
use crate::proto::{Channel, SavedChannel};
use crate::state::{Inherited, Luggage};
use crate::sys;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Clients at a time; more are turned away, so that descriptors are left for workers.
const MOST_CLIENTS: usize = 256;
/// Bytes that wait in a client's connection before its subscription (which counts what it drops) is left to fill.
const MOST_PENDING: usize = 256 << 10;
/// Bytes of replies after which a client that asks and does not read is sent away.
const MOST_REPLIES: usize = 4 << 20;
const TURN: usize = 1 << 16;
/// Clients let in before others get their turn.
const AT_ONCE: usize = 64;
/// Nanoseconds until the next try where nobody can be let in for lack of descriptors.
const PAUSE: u64 = 100_000_000;
/// Descriptors that clients leave alone.
const SPARE: u64 = 8;

pub(super) struct Client {
    channel: Channel,
    waits_for_end: bool,
    pub(super) subscription: Option<SubscriptionId>,
    /// The subscription outlives the connection.
    pub(super) lasting: bool,
}

/// As an upgrade hands it on: followers of output miss nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedClient {
    channel: SavedChannel,
    #[serde(default)]
    waits_for_end: bool,
    #[serde(default)]
    subscription: Option<SubscriptionId>,
    #[serde(default)]
    lasting: bool,
}

impl Client {
    pub fn new(channel: Channel) -> Client {
        Client { channel, waits_for_end: false, subscription: None, lasting: false }
    }

    pub fn save(&self, luggage: &mut Luggage) -> SavedClient {
        let Client { channel, waits_for_end, subscription, lasting } = self;
        let (waits_for_end, subscription, lasting) = (*waits_for_end, *subscription, *lasting);
        SavedClient { channel: channel.save(luggage), waits_for_end, subscription, lasting }
    }

    pub fn restore(saved: SavedClient, inherited: &Inherited) -> Client {
        let SavedClient { channel, waits_for_end, subscription, lasting } = saved;
        Client { channel: Channel::restore(channel, inherited), waits_for_end, subscription, lasting }
    }

    /// Output of which nothing was sent, taken back from what waits in the connection.
    pub(super) fn take_unsent(&mut self) -> Vec<Delivery> {
        let mut output = Vec::new();
        for reply in self.channel.take_unsent::<Reply>().unwrap_or_default() {
            match Delivery::try_from(reply) {
                Ok(delivery) => output.push(delivery),
                Err(other) => _ = self.channel.push(&other),
            }
        }
        output
    }

    /// Output that was not sent whole, so that who has gone cannot have had it.
    fn undelivered(&self) -> Vec<Delivery> {
        let replies = self.channel.undelivered::<Reply>().unwrap_or_default();
        replies.into_iter().filter_map(|reply| Delivery::try_from(reply).ok()).collect()
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Keeper {
    /// Lets in whoever knocks, if it is the same user or root.
    pub(super) fn accept_clients(&mut self) {
        for _ in 0..AT_ONCE {
            let Some(listener) = &self.listener else { return };
            let socket = match sys::accept(listener.as_fd()) {
                Ok(socket) => socket,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => continue,
                Err(_) => {
                    // They go on waiting at the door, which would keep us busy.
                    self.poller.remove(listener.as_fd());
                    self.listen_again = Some(self.now + PAUSE);
                    return;
                }
            };
            let trusted = sys::peer_uid(socket.as_fd()).is_ok_and(|uid| uid == 0 || uid == sys::own_uid());
            if !trusted || self.clients.len() >= MOST_CLIENTS || sys::is_scarce(socket.as_fd(), SPARE) {
                continue;
            }
            let Ok(channel) = Channel::new(socket) else { continue };
            self.next_client += 1;
            self.watch(channel.as_fd(), Token::Client(self.next_client));
            self.clients.insert(self.next_client, Client::new(channel));
        }
    }

    /// Opens the door again.
    pub(super) fn attend_listener(&mut self) {
        if self.listen_again.is_some_and(|at| at <= self.now) {
            self.listen_again = None;
            if let Some(listener) = &self.listener {
                self.watch(listener.as_fd(), Token::Listener);
            }
        }
    }

    /// A client has asked something, has room again, or has gone.
    pub(super) fn serve_client(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.channel.fill(TURN).is_err() {
            return self.drop_client(id);
        }
        loop {
            let Some(client) = self.clients.get_mut(&id) else { return };
            match client.channel.receive::<Request>() {
                Ok(Some(_)) if client.channel.pending() > MOST_REPLIES => return self.drop_client(id),
                Ok(Some(request)) => self.answer(id, request),
                Ok(None) => break,
                Err(_) => return self.drop_client(id),
            }
        }
        self.flush_client(id);
    }

    fn answer(&mut self, id: u64, request: Request) {
        match request {
            Request::Info {} => {
                let info = self.info();
                self.reply(id, &info);
            }
            Request::Stop { fast, who } => {
                if let Some(client) = self.clients.get_mut(&id) {
                    client.waits_for_end = true;
                }
                let reason = if who.is_empty() { "asked to stop".to_owned() } else { format!("stopped by {who}") };
                self.shut_down(&reason, Haste::of(fast), 0);
            }
            Request::Logs { workers, tail, follow, lasting: true } => {
                self.follow_lasting(id, Interest { workers, tail, follow });
            }
            Request::Logs { workers, tail, follow, lasting: false } => {
                let subscription = self.output.subscribe(Interest { workers, tail, follow });
                self.reads(id, Some(subscription), false);
            }
            Request::Accounts {} => self.tell_accounts(id),
            Request::Upgrade(order) => self.ask_upgrade(id, order),
            Request::Unknown => {
                self.reply(id, &Reply::Error { message: "this procq does not know that request".into() })
            }
        }
    }

    fn info(&self) -> Reply {
        let running = self.workers.values().filter(|worker| worker.counts() && worker.phase == Phase::Running);
        Reply::Info {
            version: VERSION,
            pid: self.config.standing.keeper,
            sentinel: self.sentinel_pid,
            control_plane: self.control.pid(),
            epoch: self.control.epoch,
            ready: self.control.ready,
            shutting_down: self.shutdown.is_some(),
            started: self.started,
            workers: self.alive(),
            running: running.count() as u32,
            release: self.config.release.clone(),
            tier: self.config.standing.tier,
            degraded: self.degraded,
        }
    }

    pub(super) fn reply(&mut self, id: u64, reply: &Reply) {
        if let Some(client) = self.clients.get_mut(&id) {
            let _ = client.channel.push(reply);
        }
    }

    /// To everybody who has asked for the end.
    pub(super) fn tell_waiting(&mut self, reply: &Reply) {
        let waiting: Vec<u64> =
            self.clients.iter().filter(|(_, client)| client.waits_for_end).map(|(id, _)| *id).collect();
        for id in waiting {
            self.reply(id, reply);
            self.flush_client(id);
        }
    }

    /// Whether somebody who has asked for the end has not been told all of it.
    pub(super) fn anybody_waits(&self) -> bool {
        self.clients.values().any(|client| client.waits_for_end && client.channel.pending() > 0)
    }

    /// Moves output from subscriptions into connections that have room, and sends.
    pub(super) fn flush_clients(&mut self) {
        for id in self.clients.keys().copied().collect::<Vec<_>>() {
            self.flush_client(id);
        }
    }

    fn flush_client(&mut self, id: u64) {
        loop {
            let more = self.fetch_output(id);
            let Some(client) = self.clients.get_mut(&id) else { return };
            match client.channel.flush_with(&self.poller, Token::Client(id).into()) {
                // The connection took it all, so nobody will tell us that it has room: the rest goes now.
                Ok(true) if more => {}
                Ok(_) => return,
                Err(_) => return self.drop_client(id),
            }
        }
    }

    /// Moves what fits into a connection. True when there may be more.
    fn fetch_output(&mut self, id: u64) -> bool {
        let Some(client) = self.clients.get_mut(&id) else { return false };
        let Some(subscription) = client.subscription else { return false };
        while client.channel.pending() < MOST_PENDING {
            let Some(piece) = self.output.next_delivery(subscription) else { return false };
            let _ = client.channel.push(&Reply::from(piece));
        }
        true
    }

    /// Wakes the readers for whom output has come.
    pub(super) fn feed_readers(&mut self) {
        let readable = self.output.take_readable();
        if readable.is_empty() {
            return;
        }
        let reads = |client: &Client| client.subscription.is_some_and(|subscription| readable.contains(&subscription));
        let ids: Vec<u64> = self.clients.iter().filter(|(_, client)| reads(client)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.flush_client(id));
    }

    fn drop_client(&mut self, id: u64) {
        if let Some(client) = self.clients.remove(&id) {
            self.poller.remove(client.channel.as_fd());
            match client.subscription {
                Some(subscription) if client.lasting => {
                    self.output.put_back(subscription, client.undelivered());
                    self.hold(subscription);
                }
                Some(subscription) => self.output.unsubscribe(subscription),
                None => {}
            }
        }
    }
}

impl From<Delivery> for Reply {
    fn from(delivery: Delivery) -> Reply {
        match delivery {
            Delivery::Output(Line { worker, generation, stream, time, data, partial }) => {
                let (worker, data) = (worker.to_string(), data.to_vec().into());
                Reply::Output { worker, stream, time, data, partial, generation }
            }
            Delivery::Gap { bytes, lines } => Reply::Gap { bytes, lines },
            Delivery::TailEnd => Reply::TailEnd {},
        }
    }
}

impl TryFrom<Reply> for Delivery {
    /// What is no output.
    type Error = Reply;

    fn try_from(reply: Reply) -> Result<Delivery, Reply> {
        match reply {
            Reply::Output { worker, stream, time, data, partial, generation } => {
                let (worker, data) = (worker.into(), data.into_vec().into());
                Ok(Delivery::Output(Line { worker, generation, stream, time, data, partial }))
            }
            Reply::Gap { bytes, lines } => Ok(Delivery::Gap { bytes, lines }),
            Reply::TailEnd {} => Ok(Delivery::TailEnd),
            other => Err(other),
        }
    }
}
