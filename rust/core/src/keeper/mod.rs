//! The keeper: one thread that spawns, reaps, signals and reads, driven by one poller. It decides nothing.
//!
//! Never runs policy, never waits for a disk or a terminal (the output's writer thread does), never runs Python.
//! Whoever may die around it (control plane, clients, sentinel), workers are not touched, or are stopped gracefully.

mod alarms;
mod clients;
mod closer;
mod control;
mod groups;
mod hearing;
mod lasting;
mod lifecycle;
mod link;
mod notices;
mod probe;
mod readiness;
mod report;
mod saved;
mod service;
mod shutdown;
mod stopping;
mod streams;
mod stuck;
mod tally;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_saved;
mod token;
mod tree;
mod upgrade;
mod wire;
mod worker;

pub use control::Watch;
pub use saved::Saved;
pub(crate) use shutdown::{end_all_children, end_children};
pub(crate) use tree::instance_of;

use crate::contain::Base;
use crate::host::Config;
use crate::image::Image;
use crate::output::{ConsoleConfig, Output};
use crate::proto::Channel;
use crate::sentinel::Word;
use crate::sys::cgroup::Cgroup;
use crate::sys::{self, Poller, Ready, SignalSource, Spawner};
use alarms::Alarm;
use clients::Client;
use closer::{Closer, Waiting};
use control::Control;
use lasting::Held;
use link::Link;
use report::Work;
use service::Service;
use shutdown::{Haste, Shutdown};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;
use token::Token;
use tree::Orphan;
use upgrade::{Upgrade, Upgraded};
use worker::Worker;

/// Bytes read at once; one for all, because one thread reads.
const BUFFER: usize = 1 << 18;
/// Nanoseconds by which we come late only where nobody could do anything.
const OVERSLEPT: u64 = 5_000_000_000;

/// What the host has made before there were two of us.
pub struct Setting {
    /// What `procq up` (or the owner) asked for.
    pub config: Config,
    /// Held for life, and beyond an exec.
    pub lock: Option<OwnedFd>,
    /// Conversation with the sentinel: packets of a byte or a little more, and its end.
    pub sentinel: OwnedFd,
    /// Its process id, for people.
    pub sentinel_pid: i32,
    /// Sockets, bound while errors can still be told to the caller.
    pub listener: Option<OwnedFd>,
    /// Passed on to every control plane.
    pub api: Option<OwnedFd>,
    /// Told once that it works, or closed.
    pub announce: Option<OwnedFd>,
    /// RLIMIT_NOFILE before we raised ours.
    pub descriptors: (u64, u64),
    /// Thirty random bits that tell our trees from another procq's.
    pub instance: u64,
    /// Where the control groups of workers are made, in T2.
    pub base: Option<Base>,
}

/// Everything the keeper holds.
pub struct Keeper {
    config: Config,
    lock: Option<OwnedFd>,
    sentinel: OwnedFd,
    sentinel_pid: i32,
    listener: Option<OwnedFd>,
    announce: Option<OwnedFd>,
    descriptors: (u64, u64),

    poller: Poller,
    signals: SignalSource,
    spawner: Spawner,
    null: OwnedFd,
    buffer: Vec<u8>,
    output: Output,
    output_wake: OwnedFd,
    now: u64,
    started: u64,
    /// Thirty random bits that tell our trees from another procq's.
    instance: u64,
    /// Where the control groups of workers are made, in T2.
    base: Option<Base>,
    /// New workers have none all the same.
    degraded: bool,
    /// Those of workers that are gone, to be removed.
    empty_groups: VecDeque<Cgroup>,
    service: Service,

    workers: HashMap<u64, Worker>,
    slots: HashMap<String, u64>,
    leaders: HashMap<i32, u64>,
    /// Processes that count their own jobs, with the worker that each belongs to.
    speakers: HashMap<i32, u64>,
    /// What workers that are gone have done, by queue.
    tallies: BTreeMap<String, Work>,
    draining: BTreeSet<u64>,
    orphans: HashMap<i32, Orphan>,
    /// Trees may have become empty; looked at from this moment on.
    unsettled: bool,
    settle_at: u64,
    /// Children may have ended that no event of their own tells of.
    unreaped: bool,
    timers: BinaryHeap<Reverse<(u64, u64)>>,
    alarms: BinaryHeap<Reverse<(u64, u64, Alarm)>>,
    /// Health commands that run.
    probes: BTreeSet<u64>,
    closer: Closer,
    /// For what strangers pass: it is not in the way of what workers do.
    strangers: Closer,
    passed_by_strangers: Waiting,
    last_generation: u64,
    closed_outputs: VecDeque<(String, u64)>,

    control: Control,
    link: Option<Link>,
    blob: Vec<u8>,
    clients: HashMap<u64, Client>,
    next_client: u64,
    /// What waits for a reader that has gone, until another one comes.
    held: Option<Held>,
    /// Nobody can be let in before then.
    listen_again: Option<u64>,
    shutdown: Option<Shutdown>,
    /// Those who wait for the end have news to hear.
    progress: bool,

    /// What we run, to come back to when an upgrade fails.
    image: Option<Image>,
    upgrade: Option<Upgrade>,
    /// We have just come out of one.
    upgraded: Option<Upgraded>,
}

impl Keeper {
    /// Takes its place. All signals are blocked, there is one thread.
    ///
    /// # Errors
    /// No descriptor, memory or thread can be had.
    pub fn new(mut setting: Setting) -> io::Result<Keeper> {
        let config = &mut setting.config;
        let output_wake = sys::wakeup()?;
        let output = Output::start(console_of(config)?, output_wake.try_clone()?)?;
        let link = config.owner_fd.map(|fd| Channel::new(sys::adopt_fd(fd)?)).transpose()?.map(Link::new);
        let control = match (&link, setting.api.take()) {
            (None, Some(api)) => Control::command(config.control_command()?, api, config.watch),
            _ => Control::owner(),
        };
        let service = Service::of(config);
        // Gone already: then there is no upgrade, and everything else.
        let image = Image::own(&config.image, &config.files).ok().filter(|_| !config.image.is_empty());
        let now = sys::monotonic();
        Ok(Keeper {
            lock: setting.lock,
            sentinel: setting.sentinel,
            sentinel_pid: setting.sentinel_pid,
            listener: setting.listener,
            announce: setting.announce,
            descriptors: setting.descriptors,
            config: setting.config,
            poller: Poller::new()?,
            signals: SignalSource::new(&[libc::SIGCHLD])?,
            spawner: Spawner::default(),
            null: sys::dev_null()?,
            buffer: vec![0; BUFFER],
            output,
            output_wake,
            now,
            started: sys::wall(),
            instance: setting.instance,
            base: setting.base,
            degraded: false,
            empty_groups: VecDeque::new(),
            service,
            workers: HashMap::new(),
            slots: HashMap::new(),
            leaders: HashMap::new(),
            speakers: HashMap::new(),
            tallies: BTreeMap::new(),
            draining: BTreeSet::new(),
            orphans: HashMap::new(),
            unsettled: false,
            settle_at: 0,
            unreaped: false,
            timers: BinaryHeap::new(),
            alarms: BinaryHeap::new(),
            probes: BTreeSet::new(),
            closer: Closer::default(),
            strangers: Closer::default(),
            passed_by_strangers: Waiting::default(),
            last_generation: 0,
            closed_outputs: VecDeque::new(),
            control,
            link,
            blob: Vec::new(),
            clients: HashMap::new(),
            next_client: 0,
            held: None,
            listen_again: None,
            shutdown: None,
            progress: false,
            image,
            upgrade: None,
            upgraded: None,
        })
    }

    /// Works until everything has been stopped, then ends the process.
    pub fn run(mut self) -> ! {
        self.watch(self.sentinel.as_fd(), Token::Sentinel);
        self.watch(self.signals.as_fd(), Token::Children);
        self.watch(self.output_wake.as_fd(), Token::Writer);
        if let Some(listener) = &self.listener {
            self.watch(listener.as_fd(), Token::Listener);
        }
        if let Some(link) = &self.link {
            self.watch(link.channel.as_fd(), Token::Link);
        }
        let (mut ready, mut patience) = (Vec::new(), Some(0));
        loop {
            // First what has happened: while an upgrade held everything, say, or the machine slept.
            // Without memory for a wait there is nothing better than to try again.
            let began = sys::monotonic();
            let _ = self.poller.wait(&mut ready, patience);
            self.now = sys::monotonic();
            self.forgive(began.saturating_add(patience.unwrap_or(u64::MAX)));
            for Ready { token, read, write } in ready.drain(..) {
                if let Some(token) = Token::unpack(token) {
                    self.dispatch(token, read, write);
                }
            }
            self.attend_control();
            self.attend_watchdog();
            self.attend_listener();
            self.attend_held();
            self.reap_some();
            self.run_timers();
            self.run_alarms();
            self.settle();
            self.remove_some_groups();
            if self.output.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
                self.attend_output();
            }
            self.attend_upgrade();
            self.attend_writer();
            self.report_progress();
            if self.shutdown_complete() {
                self.leave();
            }
            self.feed_readers();
            self.flush_link();
            patience = self.patience();
        }
    }

    /// Where we come much later than at `due`, everything was stopped: the machine slept, or a debugger kept us. Whoever had to
    /// say something meanwhile gets the time that nobody had.
    fn forgive(&mut self, due: u64) {
        let late = self.now.saturating_sub(due);
        if late < OVERSLEPT {
            return;
        }
        self.control.overslept(late);
        let watched = self.workers.values_mut().filter_map(|worker| worker.hearing.watchdog.due.as_mut());
        watched.for_each(|due| *due = due.saturating_add(late));
    }

    fn dispatch(&mut self, token: Token, read: bool, write: bool) {
        match token {
            Token::Sentinel => self.hear_sentinel(),
            Token::Children => {
                while self.signals.next().is_some() {}
                self.unreaped = true;
            }
            Token::Writer => {
                let _ = sys::read(self.output_wake.as_fd(), &mut [0; 8]);
                self.attend_output();
            }
            Token::Listener => self.accept_clients(),
            // Room to write is used before the next wait.
            Token::Link if !read => {}
            Token::Link => self.read_link(),
            Token::ControlStarting => self.control_exec_reported(),
            Token::ControlEnded => self.control_ended(),
            Token::ControlStream(stream) => self.read_control_stream(stream),
            Token::Client(id) if read || write => self.serve_client(id),
            Token::Client(_) => {}
            Token::Starting(generation) => self.exec_reported(generation),
            Token::Ended(generation) => self.leader_ended(generation),
            Token::Output(generation, stream) => self.read_stream(generation, stream),
            Token::Notices(generation) => self.hear(generation),
            Token::Wire(generation) => self.hear_stream(generation),
            Token::Speaker(pid) => self.speaker_ended(pid as i32),
            Token::Trial => self.hear_trial(),
            Token::Orphan(pid) => self.orphan_ended(pid as i32),
            Token::Group(generation) => self.group_changed(generation),
        }
    }

    /// Nanoseconds until something has to be done even without news.
    fn patience(&self) -> Option<u64> {
        if self.unreaped || !self.empty_groups.is_empty() {
            return Some(0);
        }
        let settling = self.unsettled.then_some(self.settle_at);
        let stalled =
            self.output.deadline().map(|at| self.now + at.saturating_duration_since(Instant::now()).as_nanos() as u64);
        let others = [settling, stalled, self.listen_again, self.service.next_timer(), self.next_alarm()];
        let others = others.into_iter().chain([self.writer_timer(), self.held_timer()]);
        let timers = [self.next_timer(), self.control.next_timer(), self.shutdown_timer(), self.upgrade_timer()]
            .into_iter()
            .chain(others);
        timers.flatten().min().map(|at| at.saturating_sub(sys::monotonic()))
    }

    /// The sentinel passes a signal on, or has died.
    fn hear_sentinel(&mut self) {
        // A packet at a time: the next one is reported again.
        let mut word = [0; 1];
        match sys::recv(self.sentinel.as_fd(), &mut word) {
            Ok(0) => {
                self.poller.remove(self.sentinel.as_fd());
                self.shut_down("the sentinel has died", Haste::AtOnce, 1);
            }
            Ok(_) => Word::from_byte(word[0]).into_iter().for_each(|word| self.heed(word)),
            Err(_) => {}
        }
    }

    fn heed(&mut self, word: Word) {
        match word {
            Word::Interrupt if self.shutdown.is_some() => self.shut_down("interrupted again", Haste::Now, 0),
            Word::Interrupt => self.shut_down("interrupted", Haste::InOrder, 0),
            Word::Terminate => self.shut_down("terminated", Haste::InOrder, 0),
            Word::Quit => self.shut_down("told to quit", Haste::Now, 0),
            Word::HangUp => self.shut_down("the terminal has gone", Haste::InOrder, 0),
            Word::Reload => self.reload(),
            Word::Pause => {
                self.output.pause_console(true);
                let _ = sys::send(self.sentinel.as_fd(), &[Word::Pause.byte()]);
            }
            Word::Continue => self.output.pause_console(false),
            Word::Tell => {}
        }
    }

    /// Tells who waits for `procq up -d`, once.
    fn announce_ready(&mut self) {
        if let Some(announce) = self.announce.take() {
            let _ = sys::write(announce.as_fd(), b"ready\n");
        }
    }
}

/// Where lines go that people watch: to our standard output.
fn console_of(config: &Config) -> io::Result<ConsoleConfig> {
    let crate::host::Console { prefix, colour, width, raw, most } = config.console;
    Ok(ConsoleConfig { fd: sys::duplicate_above(io::stdout().as_fd(), 3)?, prefix, colour, width, raw, most })
}

/// Thirty random bits.
pub(crate) fn random_instance() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Its keys come from the kernel's random source.
    let random = std::hash::RandomState::new().build_hasher().finish();
    (random & ((1 << 30) - 1)).max(1)
}
