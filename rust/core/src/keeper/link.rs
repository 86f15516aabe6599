//! The conversation with the control plane (or, in library use, with the owner).

use super::shutdown::Haste;
use super::token::Token;
use super::Keeper;
use crate::proto::messages::{Command, Event, Record, OLDEST, VERSION};
use crate::proto::{Channel, ChannelError, SavedChannel};
use crate::state::{Inherited, Luggage};
use crate::sys;
use serde::{Deserialize, Serialize};
use std::os::fd::AsFd;

/// Bytes of events that may wait for a slow control plane, besides its snapshot. More become a gap and a fresh snapshot.
const MOST_PENDING: usize = 4 << 20;
/// Workers in one frame of a snapshot.
const RECORDS: usize = 500;
/// Bytes of intent in one frame.
pub(super) const BLOB_PART: usize = 512 << 10;
/// The largest intent we keep.
const LARGEST_BLOB: usize = 4 << 20;
/// Bytes of commands read before workers get their turn.
const TURN: usize = 1 << 20;

/// One control plane's connection.
pub(super) struct Link {
    pub channel: Channel,
    greeted: bool,
    overflowed: bool,
    /// Bytes of a snapshot among those that wait: they are as many as they are.
    snapshot: usize,
    incoming: Incoming,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Incoming {
    #[serde(with = "serde_bytes")]
    data: Vec<u8>,
    /// The part that has to come next; none after a part that did not fit.
    next: Option<u32>,
}

/// As an upgrade hands it on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedLink {
    channel: SavedChannel,
    #[serde(default)]
    greeted: bool,
    #[serde(default)]
    overflowed: bool,
    #[serde(default)]
    snapshot: usize,
    #[serde(default)]
    incoming: Incoming,
}

impl Link {
    pub fn save(&self, luggage: &mut Luggage) -> SavedLink {
        let Link { channel, greeted, overflowed, snapshot, incoming } = self;
        SavedLink {
            channel: channel.save(luggage),
            greeted: *greeted,
            overflowed: *overflowed,
            snapshot: *snapshot,
            incoming: incoming.clone(),
        }
    }

    pub fn restore(saved: SavedLink, inherited: &Inherited) -> Link {
        let SavedLink { channel, greeted, overflowed, snapshot, incoming } = saved;
        Link { channel: Channel::restore(channel, inherited), greeted, overflowed, snapshot, incoming }
    }

    pub fn new(channel: Channel) -> Link {
        Link { channel, greeted: false, overflowed: false, snapshot: 0, incoming: Incoming::default() }
    }
}

impl Keeper {
    /// Tells the control plane; what it misses it will see in its next snapshot.
    pub(super) fn emit(&mut self, event: &Event) {
        let Some(link) = self.link.as_mut().filter(|link| link.greeted && !link.overflowed) else { return };
        // A message over the size of a frame cannot be: names and paths are far below it.
        let _ = link.channel.push(event);
        if link.channel.pending() > MOST_PENDING + link.snapshot {
            link.channel.discard_unsent();
            link.overflowed = true;
        }
    }

    /// The same for what happens to a worker: of a health command only its end is told.
    pub(super) fn tell(&mut self, generation: u64, event: &Event) {
        if self.workers.get(&generation).is_none_or(|worker| worker.probe.is_none()) {
            self.emit(event);
        }
    }

    /// Sends what waits; once an overflow has drained, a fresh snapshot.
    pub(super) fn flush_link(&mut self) {
        let Some(link) = self.link.as_mut() else { return };
        match link.channel.flush_with(&self.poller, Token::Link.into()) {
            Ok(true) => {
                link.snapshot = 0;
                if std::mem::take(&mut link.overflowed) {
                    self.emit(&Event::Gap {});
                    self.send_snapshot();
                    self.flush_link();
                }
            }
            Ok(false) => {}
            Err(_) => self.link_lost(),
        }
    }

    /// Commands have arrived.
    pub(super) fn read_link(&mut self) {
        let Some(link) = self.link.as_mut() else { return };
        if link.channel.fill(TURN).is_err() {
            return self.link_lost();
        }
        self.control.heard();
        loop {
            let Some(link) = self.link.as_mut() else { return };
            match link.channel.receive::<Command>() {
                Ok(Some(command)) => self.obey(command),
                Ok(None) => return,
                Err(ChannelError::Frame(error)) => {
                    self.say(&format!("the control plane sent what is no command ({error}); starting it again"));
                    return self.link_lost();
                }
                Err(_) => return self.link_lost(),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Hello { oldest, newest } => self.greet(oldest, newest),
            Command::Spawn(spawn) => self.spawn(spawn),
            Command::Stop { worker, generation, signal, grace } => {
                self.addressed(worker, generation, |keeper| keeper.stop(generation, signal, grace));
            }
            Command::Configure(told) => {
                self.addressed(told.worker.clone(), told.generation, |keeper| keeper.configure(told));
            }
            Command::MarkReady { worker, generation } => {
                self.addressed(worker, generation, |keeper| {
                    keeper.mark_ready(generation);
                });
            }
            Command::Park { worker, generation, parked } => {
                self.addressed(worker, generation, |keeper| keeper.park(generation, parked));
            }
            Command::Forget { worker, generation } => self.forget(&worker, generation),
            Command::Blob { part, parts, crc, data } => self.take_blob(part, parts, crc, &data),
            Command::Console { lines } => lines.iter().for_each(|line| self.output.console_line(line)),
            Command::Ready {} => self.control_ready(),
            Command::ServiceState { state } => self.tell_state(&state),
            Command::Pong { .. } => {}
            Command::Shutdown { fast, exit_code, reason } => self.shut_down(&reason, Haste::of(fast), exit_code),
            Command::Unknown => {}
        }
    }

    /// Runs `act` if that generation is there, else says so: a stale order never reaches its successor.
    fn addressed(&mut self, worker: String, generation: u64, act: impl FnOnce(&mut Keeper)) {
        if self.workers.get(&generation).is_some_and(|known| known.id == worker) {
            act(self);
        } else {
            self.emit(&Event::Refused { worker, generation, why: "no such generation".into() });
        }
    }

    fn greet(&mut self, oldest: u32, newest: u32) {
        let Some(link) = self.link.as_mut() else { return };
        // A peer that greets a thousand times and reads no answer gets the last one when it has read the first.
        if link.channel.pending() > MOST_PENDING {
            link.overflowed = true;
            return;
        }
        link.greeted = true;
        if oldest > VERSION || newest < OLDEST {
            return self.emit(&Event::Incompatible { oldest: OLDEST, newest: VERSION });
        }
        self.emit(&Event::Welcome {
            version: newest.min(VERSION),
            epoch: self.control.epoch,
            instance: self.instance,
            last_generation: self.last_generation,
            shutting_down: self.shutdown.is_some(),
            was_ready: self.control.was_ever_ready(),
        });
        let crc = crc32fast::hash(&self.blob);
        let parts = self.blob.chunks(BLOB_PART).len() as u32;
        for (part, data) in (0..).zip(self.blob.clone().chunks(BLOB_PART)) {
            self.push(&Event::Blob { part, parts, crc, data: data.to_vec().into() });
        }
        self.send_snapshot();
    }

    fn send_snapshot(&mut self) {
        let workers = self.workers.values().filter(|worker| worker.probe.is_none());
        let mut records: Vec<Record> = workers.map(super::worker::Worker::record).collect();
        records.sort_by_key(|record| record.generation);
        records.chunks(RECORDS).for_each(|items| self.push_records(items));
        self.tell_reports();
        self.push(&Event::SnapshotEnd { at: self.now, last_generation: self.last_generation });
        self.tell_troubles();
        self.tell_conditions();
    }

    /// What workers have said, before anybody concludes from the records that they have not.
    fn tell_reports(&mut self) {
        let told = self.workers.values().filter(|worker| worker.counts() && worker.hearing.report.was_told());
        let reports: Vec<Event> = told.map(super::worker::Worker::report).collect();
        for report in reports {
            self.push(&report);
        }
    }

    /// What a snapshot's records do not say, told again: events may have been lost.
    fn tell_conditions(&mut self) {
        let mut events = self.tallies();
        for worker in self.workers.values().filter(|worker| worker.counts()) {
            events.extend(worker.silence(self.now));
            events.extend(worker.stuck.clone());
        }
        for event in events {
            self.push(&event);
        }
    }

    /// In as many frames as it takes: long paths make records larger than the usual ones.
    fn push_records(&mut self, items: &[Record]) {
        if !self.push(&Event::Workers { items: items.to_vec() }) && items.len() > 1 {
            let (first, second) = items.split_at(items.len() / 2);
            self.push_records(first);
            self.push_records(second);
        }
    }

    /// Queues what belongs to a snapshot: without bound, because half of it would be of no use. False if it is too large for a frame.
    fn push(&mut self, event: &Event) -> bool {
        let Some(link) = self.link.as_mut().filter(|link| !link.overflowed) else { return true };
        let before = link.channel.pending();
        let fits = link.channel.push(event).is_ok();
        link.snapshot += link.channel.pending() - before;
        fits
    }

    /// The parts come in order; the whole replaces what was kept only when its checksum is right.
    fn take_blob(&mut self, part: u32, parts: u32, crc: u32, data: &[u8]) {
        let Some(link) = self.link.as_mut() else { return };
        let incoming = &mut link.incoming;
        if part == 0 {
            *incoming = Incoming { data: Vec::new(), next: Some(0) };
        }
        if incoming.next != Some(part) || incoming.data.len() + data.len() > LARGEST_BLOB {
            *incoming = Incoming::default();
            return;
        }
        incoming.data.extend_from_slice(data);
        incoming.next = part.checked_add(1);
        if incoming.next == Some(parts) && crc32fast::hash(&incoming.data) == crc {
            self.blob = std::mem::take(incoming).data;
        }
    }

    /// The connection has ended: in library use that is the owner's end, and everything stops.
    pub(super) fn link_lost(&mut self) {
        if let Some(link) = self.link.take() {
            self.poller.remove(link.channel.as_fd());
        }
        if self.control.is_owner() {
            self.shut_down("the owner has gone", Haste::InOrder, 0);
        } else {
            self.control.end_now();
        }
    }

    /// Shows a line of the keeper's own.
    pub(super) fn say(&mut self, line: &str) {
        self.output.console_line(&format!("procq: {line}"));
    }

    /// SIGHUP reached the sentinel.
    pub(super) fn reload(&mut self) {
        if self.shutdown.is_some() {
            return;
        }
        self.tell_service_manager(&format!("RELOADING=1\nMONOTONIC_USEC={}", sys::monotonic() / 1_000));
        self.emit(&Event::Reload {});
    }

    /// Proof of life is asked for with the time as the number.
    pub(super) fn ping(&mut self) {
        self.emit(&Event::Ping { n: sys::monotonic() });
    }
}
