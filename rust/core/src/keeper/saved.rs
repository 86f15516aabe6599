//! The whole keeper, handed from one image to the next: see [`crate::state`].
//!
//! What is put together is named field by field: a new one of the keeper, a worker, the output does not compile before
//! somebody has said here, or there, what becomes of it. Most need a line in the struct, in `save` and in `restore`.

use super::alarms::Alarm;
use super::clients::{Client, SavedClient};
use super::closer::{Closer, Waiting};
use super::control::{Control, SavedControl};
use super::lasting::Held;
use super::link::{Link, SavedLink};
use super::report::Work;
use super::service::Service;
use super::token::Token;
use super::tree::{Orphan, SavedOrphan};
use super::upgrade::SavedUpgrade;
use super::worker::{SavedWorker, Worker, STREAMS};
use super::{console_of, Keeper, BUFFER};
use crate::contain::Base;
use crate::host::Config;
use crate::image::Image;
use crate::output::{self, Output, SubscriptionId};
use crate::state::{Fd, Inherited, Luggage};
use crate::sys::cgroup::Cgroup;
use crate::sys::{self, Poller, SignalSource, Spawner};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::io;
use std::os::fd::AsFd;

/// Everything that a keeper holds.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// All descriptors that anything below names.
    pub descriptors: Vec<Fd>,
    /// How it was begun.
    pub config: Config,
    lock: Option<Fd>,
    sentinel: Option<Fd>,
    sentinel_pid: i32,
    listener: Option<Fd>,
    announce: Option<Fd>,
    limit: (u64, u64),
    output: output::Saved,
    started: u64,
    instance: u64,
    workers: BTreeMap<u64, SavedWorker>,
    draining: BTreeSet<u64>,
    alarms: Vec<(u64, u64, Alarm)>,
    tallies: BTreeMap<String, Work>,
    orphans: BTreeMap<i32, SavedOrphan>,
    last_generation: u64,
    closed_outputs: VecDeque<(String, u64)>,
    control: Option<SavedControl>,
    link: Option<SavedLink>,
    blob: ByteBuf,
    clients: BTreeMap<u64, SavedClient>,
    next_client: u64,
    held: Option<(SubscriptionId, u64)>,
    listen_again: Option<u64>,
    base: Option<Base>,
    degraded: bool,
    empty_groups: VecDeque<Cgroup>,
    pub(super) upgrade: Option<SavedUpgrade>,
}

impl Keeper {
    /// Everything, with the descriptors to go along. Not while everything is being stopped.
    pub fn save(&self) -> (Saved, Luggage) {
        let mut luggage = Luggage::default();
        let luggage_ref = &mut luggage;
        let Keeper { config, lock, sentinel, sentinel_pid, listener, announce, descriptors, .. } = self;
        // Made anew: they are about this image, or about this moment.
        let Keeper { poller: _, signals: _, spawner: _, null: _, buffer: _, output_wake: _, now: _, .. } = self;
        let Keeper { output, started, instance, workers, draining, orphans, .. } = self;
        // Follow from the workers and the configuration.
        let Keeper { slots: _, leaders: _, speakers: _, timers: _, service: _, .. } = self;
        // What waits to be closed closes with the exec.
        let Keeper { alarms, tallies, probes: _, closer: _, strangers: _, passed_by_strangers: _, .. } = self;
        // Whoever comes looks at everything once.
        let Keeper { unsettled: _, settle_at: _, unreaped: _, progress: _, shutdown: _, .. } = self;
        let Keeper { last_generation, closed_outputs, control, link, blob, .. } = self;
        let Keeper { clients, next_client, held, listen_again, base, degraded, empty_groups, .. } = self;
        // Of the upgrade under way its author writes down what is needed.
        let Keeper { image: _, upgrade: _, upgraded: _, .. } = self;
        let mut saved = Saved {
            descriptors: Vec::new(),
            config: config.clone(),
            lock: luggage_ref.pack_some(lock.as_ref()),
            sentinel: Some(luggage_ref.pack(sentinel)),
            sentinel_pid: *sentinel_pid,
            listener: luggage_ref.pack_some(listener.as_ref()),
            announce: luggage_ref.pack_some(announce.as_ref()),
            limit: *descriptors,
            output: output.save(luggage_ref),
            started: *started,
            instance: *instance,
            workers: workers.iter().map(|(generation, worker)| (*generation, worker.save(luggage_ref))).collect(),
            draining: draining.clone(),
            alarms: sorted(alarms),
            tallies: tallies.clone(),
            orphans: orphans.iter().map(|(pid, orphan)| (*pid, orphan.save(luggage_ref))).collect(),
            last_generation: *last_generation,
            closed_outputs: closed_outputs.clone(),
            control: Some(control.save(luggage_ref)),
            link: link.as_ref().map(|link| link.save(luggage_ref)),
            blob: blob.clone().into(),
            clients: clients.iter().map(|(id, client)| (*id, client.save(luggage_ref))).collect(),
            next_client: *next_client,
            held: held.as_ref().map(|held| (held.subscription, held.until)),
            listen_again: *listen_again,
            base: base.clone(),
            degraded: *degraded,
            empty_groups: empty_groups.clone(),
            upgrade: None,
        };
        saved.descriptors = luggage.list();
        (saved, luggage)
    }

    /// As it was, but for the writer thread, which begins with [`Keeper::go_on`]. `forwards`: we are the image that was to take over, and not
    /// the former one that has to go on.
    ///
    /// # Errors
    /// No descriptor can be had for what is made anew. Nothing inherited has been touched then.
    pub fn restore(saved: Saved, inherited: &Inherited, forwards: bool) -> io::Result<Keeper> {
        let Saved { descriptors: _, mut config, lock, sentinel, sentinel_pid, listener, announce, limit, .. } = saved;
        let Saved { output, started, instance, workers, draining, alarms, orphans, last_generation, .. } = saved;
        let Saved { closed_outputs, control, link, blob, clients, next_client, listen_again, upgrade, .. } = saved;
        let Saved { base, degraded, empty_groups, tallies, held, .. } = saved;
        // What can fail comes first.
        let (poller, signals, null) = (Poller::new()?, SignalSource::new(&[libc::SIGCHLD])?, sys::dev_null()?);
        let output_wake = sys::wakeup()?;
        let own =
            (forwards && !config.image.is_empty()).then(|| Image::own(&config.image, &config.files)).transpose()?;
        let (console, wake) = (console_of(&config)?, output_wake.try_clone()?);
        let sentinel = sentinel.ok_or_else(|| io::Error::other("the state names no sentinel"))?;
        let control = control.ok_or_else(|| io::Error::other("the state names no control plane"))?;
        let output = Output::restore(output, console, wake, inherited)?;
        let upgraded = upgrade.map(|upgrade| upgrade.restore(&mut config, inherited, forwards));
        let (upgraded, former) = upgraded.map_or((None, None), |(upgraded, former)| (Some(upgraded), former));
        let command = config.control_command().expect("words that have been a command");
        let workers: HashMap<u64, Worker> =
            workers.into_iter().map(|(generation, saved)| (generation, Worker::restore(saved, inherited))).collect();
        let slots = workers.values().filter(|worker| worker.probe.is_none());
        let orphans = orphans.into_iter().map(|(pid, saved)| (pid, Orphan::restore(saved, inherited)));
        let clients = clients.into_iter().map(|(id, saved)| (id, Client::restore(saved, inherited)));
        Ok(Keeper {
            lock: inherited.take_some(lock),
            sentinel: inherited.take(sentinel),
            sentinel_pid,
            listener: inherited.take_some(listener),
            announce: inherited.take_some(announce),
            descriptors: limit,
            service: Service::of(&config),
            config,
            poller,
            signals,
            spawner: Spawner::default(),
            null,
            buffer: vec![0; BUFFER],
            output,
            output_wake,
            now: sys::monotonic(),
            started,
            instance,
            slots: slots.map(|worker| (worker.id.clone(), worker.generation)).collect(),
            leaders: leaders_of(&workers),
            speakers: speakers_of(&workers),
            tallies,
            timers: workers.values().filter_map(|w| Some(Reverse((w.look?, w.generation)))).collect::<BinaryHeap<_>>(),
            probes: workers.values().filter(|w| w.probe.is_some()).map(|w| w.generation).collect(),
            workers,
            draining,
            alarms: alarms.into_iter().map(Reverse).collect(),
            closer: Closer::default(),
            strangers: Closer::default(),
            passed_by_strangers: Waiting::default(),
            orphans: orphans.collect(),
            unsettled: true,
            settle_at: 0,
            unreaped: true,
            last_generation,
            closed_outputs,
            control: Control::restore(control, command, inherited),
            link: link.map(|link| Link::restore(link, inherited)),
            blob: blob.into_vec(),
            clients: clients.collect(),
            next_client,
            held: held.map(|(subscription, until)| Held { subscription, until }),
            listen_again,
            base,
            degraded,
            empty_groups,
            shutdown: None,
            progress: false,
            image: own.or(former),
            upgrade: None,
            upgraded,
        })
    }

    /// Watches what came with the state, and lets the writer work: from here on there is no way back to the former image.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn go_on(&mut self) -> io::Result<()> {
        self.await_lines();
        for worker in self.workers.values() {
            let generation = worker.generation;
            if let Some(leader) = &worker.leader {
                self.watch(leader.as_fd(), Token::Ended(generation));
            }
            if let Some(starting) = &worker.starting {
                self.watch(starting.as_fd(), Token::Starting(generation));
            }
            if let Some(socket) = &worker.hearing.socket {
                self.watch(socket.as_fd(), Token::Notices(generation));
            }
            if let Some(wire) = &worker.hearing.wire {
                self.watch(wire.as_fd(), Token::Wire(generation));
            }
            for (pid, process) in worker.hearing.report.processes() {
                self.watch(process.as_fd(), Token::Speaker(pid as u64));
            }
            // Those for whom a file has no room are left alone again when they are looked at.
            for stream in STREAMS {
                if let Some(pipe) = worker.pipes.get(stream) {
                    self.watch(pipe.as_fd(), Token::Output(generation, stream));
                }
            }
        }
        for (pid, orphan) in &self.orphans {
            self.watch(orphan.child.as_fd(), Token::Orphan(*pid as u64));
        }
        for (id, client) in &self.clients {
            self.watch(client.as_fd(), Token::Client(*id));
        }
        self.watch_control();
        self.output.go_on()
    }
}

/// By process id. One whose leader has ended may have the number of another one's: that one's it is by now.
fn leaders_of(workers: &HashMap<u64, Worker>) -> HashMap<i32, u64> {
    let mut alive: Vec<&Worker> = workers.values().filter(|worker| worker.alive() && worker.pid > 0).collect();
    alive.sort_by_key(|worker| worker.leader.is_some());
    alive.into_iter().map(|worker| (worker.pid, worker.generation)).collect()
}

/// The processes that count for themselves, by process id.
fn speakers_of(workers: &HashMap<u64, Worker>) -> HashMap<i32, u64> {
    let parts = |worker: &Worker| -> Vec<i32> { worker.hearing.report.processes().map(|(pid, _)| pid).collect() };
    workers.values().flat_map(|worker| parts(worker).into_iter().map(|pid| (pid, worker.generation))).collect()
}

/// A state that is written twice is the same.
fn sorted(alarms: &BinaryHeap<Reverse<(u64, u64, Alarm)>>) -> Vec<(u64, u64, Alarm)> {
    let mut list: Vec<_> = alarms.iter().map(|Reverse(alarm)| *alarm).collect();
    list.sort_unstable();
    list
}
