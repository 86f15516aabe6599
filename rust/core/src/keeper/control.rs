//! The control plane as a process that may die: started again, with growing pauses; ended when it hangs.

use super::link::Link;
use super::shutdown::Haste;
use super::token::Token;
use super::worker::{Pipes, SavedPipes, STREAMS};
use super::Keeper;
use crate::output::StreamId;
use crate::proto::messages::Stream;
use crate::proto::Channel;
use crate::state::{Fd, Inherited, Luggage};
use crate::sys::{self, Child, Exit, Image, SavedChild, SavedStarting, Starting, Verdict};
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// How it is watched; milliseconds, so that tests can be quick.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct Watch {
    /// Between two pings.
    pub ping: u64,
    /// Without a word for so long, it hangs.
    pub silence: u64,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch { ping: 5_000, silence: 30_000 }
    }
}

const MILLISECOND: u64 = 1_000_000;
const FIRST_PAUSE: u64 = 100 * MILLISECOND;
const LONGEST_PAUSE: u64 = 30_000 * MILLISECOND;
/// Nanoseconds for one that is replaced: to finish what is under way, and then to heed SIGTERM.
const RETIREMENT: u64 = 3_000 * MILLISECOND;
/// A control plane that lived so long was healthy: the next pause is short again.
const HEALTHY: u64 = 30_000 * MILLISECOND;
/// Failures in a row at the very start, before anything ever worked, after which there is no hope.
const HOPELESS: u32 = 3;

/// What the keeper knows of its control plane.
pub(super) struct Control {
    kind: Kind,
    watch: Watch,
    process: Option<Process>,
    /// How often one was started.
    pub epoch: u64,
    pub ready: bool,
    ever_ready: bool,
    failures: u32,
    start_at: Option<u64>,
    /// The first ping that it has not answered yet.
    asked_at: Option<u64>,
    ping_at: u64,
    /// One of another version is to take its place: how often it was asked to go, and when it is asked again.
    retiring: Option<(u32, u64)>,
}

enum Kind {
    /// Ours to start: this command, with the link as descriptor 3 and the API listener as 4.
    Command { argv: Vec<CString>, api: OwnedFd },
    /// Somebody's program has taken its place.
    Owner,
}

struct Process {
    child: Child,
    starting: Option<Starting>,
    pipes: Pipes,
    output: StreamId,
    since: u64,
}

/// As an upgrade hands it on.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedControl {
    /// The listener of the API; without one the owner of a library has its place.
    api: Option<Fd>,
    watch: Watch,
    process: Option<SavedProcess>,
    epoch: u64,
    ready: bool,
    ever_ready: bool,
    failures: u32,
    start_at: Option<u64>,
    ping_at: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedProcess {
    child: SavedChild,
    starting: Option<SavedStarting>,
    pipes: SavedPipes,
    output: StreamId,
    since: u64,
}

impl Process {
    fn save(&self, luggage: &mut Luggage) -> SavedProcess {
        let Process { child, starting, pipes, output, since } = self;
        SavedProcess {
            child: child.save(luggage),
            starting: starting.as_ref().map(|starting| starting.save(luggage)),
            pipes: pipes.save(luggage),
            output: *output,
            since: *since,
        }
    }

    fn restore(saved: SavedProcess, inherited: &Inherited) -> Process {
        let SavedProcess { child, starting, pipes, output, since } = saved;
        Process {
            child: Child::restore(child, inherited),
            starting: starting.map(|starting| Starting::restore(starting, inherited)),
            pipes: Pipes::restore(&pipes, inherited),
            output,
            since,
        }
    }
}

impl Control {
    pub fn save(&self, luggage: &mut Luggage) -> SavedControl {
        let Control { kind, watch, process, epoch, ready, ever_ready, failures, start_at, ping_at, .. } = self;
        // Whoever comes asks it anew, also to go.
        let Control { retiring: _, asked_at: _, .. } = self;
        // Its command stands in the configuration.
        let api = match kind {
            Kind::Command { argv: _, api } => Some(luggage.pack(api)),
            Kind::Owner => None,
        };
        SavedControl {
            api,
            watch: *watch,
            process: process.as_ref().map(|process| process.save(luggage)),
            epoch: *epoch,
            ready: *ready,
            ever_ready: *ever_ready,
            failures: *failures,
            start_at: *start_at,
            ping_at: *ping_at,
        }
    }

    pub fn restore(saved: SavedControl, argv: Vec<CString>, inherited: &Inherited) -> Control {
        let SavedControl { api, watch, process, epoch, ready, ever_ready, .. } = saved;
        let SavedControl { failures, start_at, ping_at, .. } = saved;
        let kind = api.map_or(Kind::Owner, |api| Kind::Command { argv, api: inherited.take(api) });
        let process = process.map(|process| Process::restore(process, inherited));
        let (asked_at, retiring) = (None, None);
        Control { kind, watch, process, epoch, ready, ever_ready, failures, start_at, asked_at, ping_at, retiring }
    }

    pub fn command(argv: Vec<CString>, api: OwnedFd, watch: Watch) -> Control {
        Control::new(Kind::Command { argv, api }, watch, Some(0))
    }

    pub fn owner() -> Control {
        Control::new(Kind::Owner, Watch::default(), None)
    }

    fn new(kind: Kind, watch: Watch, start_at: Option<u64>) -> Control {
        let (ready, ever_ready) = (false, false);
        Control {
            kind,
            watch,
            process: None,
            epoch: 0,
            ready,
            ever_ready,
            failures: 0,
            start_at,
            asked_at: None,
            ping_at: 0,
            retiring: None,
        }
    }

    pub fn is_owner(&self) -> bool {
        matches!(self.kind, Kind::Owner)
    }

    pub fn is(&self, pid: i32) -> bool {
        self.pid() == Some(pid)
    }

    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(|process| process.child.pid())
    }

    pub fn heard(&mut self) {
        self.asked_at = None;
    }

    /// Nobody could do anything for so long: neither could it answer.
    pub fn overslept(&mut self, time: u64) {
        self.asked_at = self.asked_at.map(|at| at.saturating_add(time));
    }

    /// It cannot be of use any more.
    pub fn end_now(&mut self) {
        if let Some(process) = &self.process {
            process.child.signal(libc::SIGKILL);
        }
    }

    /// Everything ends: the one that runs is the last.
    pub fn start_no_more(&mut self) {
        self.start_at = None;
    }

    /// Whether there is one that works and has not been silent for too long.
    pub fn answers(&self, now: u64) -> bool {
        self.ready && self.process.is_some() && now < self.silent_at()
    }

    /// Whether one of them has said that everything runs.
    pub fn was_ever_ready(&self) -> bool {
        self.ever_ready
    }

    /// Asks it to leave, at the end of everything.
    pub fn ask(&self) {
        if let Some(process) = &self.process {
            process.child.signal(libc::SIGTERM);
            process.child.signal(libc::SIGCONT);
        }
    }

    /// It has been told to make place; from now on it is pressed.
    pub fn retire(&mut self, now: u64) {
        if self.process.is_some() {
            self.retiring = Some((0, now + RETIREMENT));
        }
    }

    fn press(&mut self, now: u64) {
        let times = self.retiring.map_or(0, |(times, _)| times);
        if times == 0 {
            self.ask();
        } else {
            self.end_now();
        }
        self.retiring = Some((times + 1, now + RETIREMENT));
    }

    /// When it next needs attention.
    pub fn next_timer(&self) -> Option<u64> {
        match &self.process {
            Some(_) => self.retiring.map(|(_, at)| at).into_iter().chain([self.ping_at, self.silent_at()]).min(),
            None => self.start_at,
        }
    }

    fn silent_at(&self) -> u64 {
        self.asked_at.map_or(u64::MAX, |at| at.saturating_add(self.watch.silence.saturating_mul(MILLISECOND)))
    }

    fn next_ping(&self, now: u64) -> u64 {
        now.saturating_add(self.watch.ping.saturating_mul(MILLISECOND))
    }

    fn pause(&self) -> u64 {
        match self.failures {
            0 => 0,
            n => (FIRST_PAUSE << (n - 1).min(16)).min(LONGEST_PAUSE),
        }
    }
}

impl Keeper {
    /// Starts, pings, or ends the control plane, whichever is due.
    pub(super) fn attend_control(&mut self) {
        if self.control.process.is_none() {
            if self.control.start_at.is_some_and(|at| at <= self.now) {
                self.start_control();
            }
        } else if self.control.retiring.is_some_and(|(_, at)| at <= self.now) {
            self.control.press(self.now);
        } else if self.now >= self.control.silent_at() {
            self.say("the control plane does not answer: replacing it");
            self.control.heard();
            self.control.end_now();
        } else if self.now >= self.control.ping_at {
            self.control.ping_at = self.control.next_ping(self.now);
            self.control.asked_at.get_or_insert(self.now);
            self.ping();
        }
    }

    fn start_control(&mut self) {
        self.control.start_at = None;
        self.control.epoch += 1;
        if let Err(error) = self.try_start_control() {
            self.say(&format!("the control plane could not be started: {error}"));
            self.control_failed();
        }
    }

    fn try_start_control(&mut self) -> io::Result<()> {
        let Kind::Command { argv, api } = &self.control.kind else { return Ok(()) };
        let descriptors = Some(self.descriptors);
        let image =
            Image { argv: argv.clone(), env: environment(), mark: self.mark_of(0), descriptors, ..Image::default() };
        let api = api.try_clone()?;
        let (ours, theirs) = sys::socket_pair()?;
        let channel = Channel::new(ours)?;
        let launched = self.launch(image, &[theirs.as_fd(), api.as_fd()]).map_err(|error| error.source)?;
        self.watch(channel.as_fd(), Token::Link);
        self.control.process = Some(Process {
            child: launched.child,
            starting: Some(launched.starting),
            pipes: launched.pipes,
            output: self.output.open("procq", 0, None, None),
            since: self.now,
        });
        self.link = Some(Link::new(channel));
        self.control.heard();
        self.control.ping_at = self.control.next_ping(self.now);
        self.watch_control();
        Ok(())
    }

    /// Its end, its exec, and what it writes.
    pub(super) fn watch_control(&self) {
        let Some(process) = &self.control.process else { return };
        self.watch(process.child.as_fd(), Token::ControlEnded);
        if let Some(starting) = &process.starting {
            self.watch(starting.as_fd(), Token::ControlStarting);
        }
        for stream in STREAMS {
            if let Some(pipe) = process.pipes.get(stream) {
                self.watch(pipe.as_fd(), Token::ControlStream(stream));
            }
        }
    }

    /// Its exec has happened, or has not.
    pub(super) fn control_exec_reported(&mut self) {
        let Some(process) = self.control.process.as_mut() else { return };
        let Some(mut starting) = process.starting.take() else { return };
        match starting.verdict() {
            Verdict::Pending => {
                process.starting = Some(starting);
                return;
            }
            Verdict::Executing => {}
            Verdict::Failed { errno, path, .. } => {
                let (path, error) = (String::from_utf8_lossy(&path).into_owned(), io::Error::from_raw_os_error(errno));
                self.say(&format!("the control plane could not be executed: {path}: {error}"));
            }
        }
        self.poller.remove(starting.as_fd());
        self.spawner.recycle(starting);
    }

    /// It works. Only now `procq up -d` may say so.
    pub(super) fn control_ready(&mut self) {
        self.control.ready = true;
        self.control.ever_ready = true;
        self.announce_ready();
    }

    /// It wrote something to its own streams: a traceback, most likely.
    pub(super) fn read_control_stream(&mut self, stream: Stream) {
        let Some(process) = self.control.process.as_mut() else { return };
        let Some(pipe) = process.pipes.get(stream) else { return };
        match sys::read(pipe.as_fd(), &mut self.buffer) {
            Ok(n @ 1..) => {
                // Nothing to wait for: it has no log file, and a little text.
                let _ = self.output.ingest(process.output, stream, sys::wall(), &self.buffer[..n]);
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Ok(_) | Err(_) => {
                if let Some(pipe) = process.pipes.take(stream) {
                    self.poller.remove(pipe.as_fd());
                    self.output.end(process.output, stream, sys::wall());
                }
            }
        }
    }

    /// It may have ended: reap it, and start another one unless everything ends.
    pub(super) fn control_ended(&mut self) {
        let Some(process) = self.control.process.as_ref() else { return };
        let Some(exit) = process.child.reap().ok().flatten() else { return };
        let since = process.since;
        self.control_exec_reported();
        // A traceback is longer than one read at most by a little.
        (0..16).for_each(|_| STREAMS.into_iter().for_each(|stream| self.read_control_stream(stream)));
        if let Some(process) = self.control.process.take() {
            self.poller.remove(process.child.as_fd());
            for stream in STREAMS {
                if let Some(pipe) = process.pipes.get(stream) {
                    self.poller.remove(pipe.as_fd());
                }
            }
            self.output.close(process.output);
        }
        self.control.ready = false;
        // What it said before it ended still counts, above all "shut down".
        self.read_link();
        self.link_lost();
        self.end_heirs_of_control_plane();
        self.unsettled = true;
        let retired = self.control.retiring.take().is_some();
        if retired && self.shutdown.is_none() {
            (self.control.failures, self.control.start_at) = (0, Some(self.now));
        } else if self.shutdown.is_none() {
            self.say(&format!("the control plane {}; workers are not touched", describe(exit)));
            if self.now.saturating_sub(since) > HEALTHY {
                self.control.failures = 0;
            }
            self.control_failed();
        }
    }

    fn control_failed(&mut self) {
        let pause = self.control.pause();
        self.control.failures += 1;
        self.control.start_at = Some(self.now + pause);
        if !self.control.ever_ready && self.control.failures >= HOPELESS && !self.any_alive() {
            self.say("it has never worked: giving up");
            self.shut_down("the control plane does not start", Haste::Now, 1);
        }
    }
}

/// Ours: what procq was started with.
pub(super) fn environment() -> Vec<CString> {
    use std::os::unix::ffi::OsStringExt;
    let entry = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        CString::new([name.into_vec(), value.into_vec()].join(&b'=')).ok()
    };
    std::env::vars_os().filter_map(entry).collect()
}

pub(super) fn describe(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited with {code}"),
        Exit::Signal(signal) => format!("was ended by signal {signal}"),
    }
}
