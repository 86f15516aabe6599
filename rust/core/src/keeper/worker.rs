//! One generation of a worker, as the keeper holds it.
//!
//! ```text
//! Starting ──exec──▶ Running ──stop──▶ Stopping ──leader ends──▶ Draining ──tree empty──▶ Gone ──forget──▶ (dropped)
//!    │ spawn failed                        │ deadline: SIGKILL to the whole tree, again and again until it is empty
//!    └────────────▶ Gone                   Running ──leader ends by itself──▶ Draining
//! ```

use super::groups::{Group, SavedGroup};
use super::hearing::{Hearing, SavedHearing};
use super::probe::Probe;
use crate::output::StreamId;
use crate::proto::messages::{Event, Failure, Jobs, Phase, ReadyBy, Record, Status, StopPolicy, Stream};
use crate::state::{Fd, Inherited, Luggage};
use crate::sys::{Child, Exit, Starting};
use crate::sys::{SavedChild, SavedStarting};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::os::fd::OwnedFd;

/// The two output pipes of a process, each until its end; or its terminal, which counts as standard output.
#[derive(Default)]
pub struct Pipes {
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// The worker's end of a terminal. While we hold it too, one who closes his streams for a moment does not lose his terminal, which
    /// would end him by SIGHUP, as closing our end would.
    held: Option<OwnedFd>,
}

impl Pipes {
    pub fn new(stdout: OwnedFd, stderr: OwnedFd) -> Pipes {
        Pipes { stdout: Some(stdout), stderr: Some(stderr), held: None }
    }

    pub fn terminal(ours: OwnedFd, theirs: OwnedFd) -> Pipes {
        Pipes { stdout: Some(ours), stderr: None, held: Some(theirs) }
    }

    pub fn are_a_terminal(&self) -> bool {
        self.held.is_some()
    }

    /// What a process that holds the other end has open.
    pub fn ends(&self) -> impl Iterator<Item = &OwnedFd> {
        let pipes = [&self.stdout, &self.stderr].into_iter().filter(|_| self.held.is_none());
        pipes.chain([&self.held]).flatten()
    }

    pub fn get(&self, stream: Stream) -> Option<&OwnedFd> {
        match stream {
            Stream::Stdout => self.stdout.as_ref(),
            Stream::Stderr => self.stderr.as_ref(),
        }
    }

    pub fn take(&mut self, stream: Stream) -> Option<OwnedFd> {
        match stream {
            Stream::Stdout => {
                self.held = None;
                self.stdout.take()
            }
            Stream::Stderr => self.stderr.take(),
        }
    }
}

/// As an upgrade hands them on.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedPipes {
    stdout: Option<Fd>,
    stderr: Option<Fd>,
    held: Option<Fd>,
}

impl Pipes {
    pub fn save(&self, luggage: &mut Luggage) -> SavedPipes {
        let Pipes { stdout, stderr, held } = self;
        let [stdout, stderr, held] = [stdout, stderr, held].map(|fd| luggage.pack_some(fd.as_ref()));
        SavedPipes { stdout, stderr, held }
    }

    pub fn restore(saved: &SavedPipes, inherited: &Inherited) -> Pipes {
        let SavedPipes { stdout, stderr, held } = *saved;
        let [stdout, stderr, held] = [stdout, stderr, held].map(|fd| inherited.take_some(fd));
        Pipes { stdout, stderr, held }
    }
}

/// Both streams, in the order they are drained.
pub const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// One generation.
pub struct Worker {
    pub id: String,
    pub generation: u64,
    pub fingerprint: String,
    pub phase: Phase,
    pub pid: i32,
    /// The leader, until it is reaped.
    pub leader: Option<Child>,
    /// Until exec is reported.
    pub starting: Option<Starting>,
    pub pipes: Pipes,
    pub output: Option<StreamId>,
    pub at: u64,
    pub deadline: Option<u64>,
    /// How far the worker itself may put that off.
    pub latest: Option<u64>,
    /// When its tree gets SIGKILL (again), and how long the look after that one waits.
    pub look: Option<u64>,
    pub pause: u64,
    pub stop: StopPolicy,
    /// When everything is stopped, higher ones go first.
    pub wave: u32,
    /// It was told to leave before it ended.
    pub asked: bool,
    /// The stop signal went to its whole group.
    pub group_asked: bool,
    pub status: Option<Status>,
    pub failure: Option<Failure>,
    pub ended: Option<u64>,
    pub ready_by: ReadyBy,
    /// What is looked for in its output.
    pub ready_line: Option<String>,
    /// When it became ready.
    pub ready: Option<u64>,
    /// Processes of its tree that got SIGKILL.
    pub killed: HashSet<i32>,
    /// Its control group, in T2.
    pub group: Option<Group>,
    /// SIGKILL has gone to it.
    pub doomed: bool,
    /// It has been told that this did not end it.
    pub stuck: Option<Event>,
    pub hearing: Hearing,
    /// It is a health command.
    pub probe: Option<Box<Probe>>,
}

impl Worker {
    /// Whether anything of it may still run.
    pub fn alive(&self) -> bool {
        self.phase != Phase::Gone
    }

    /// Whether it is a worker of which something may still run, and no health command.
    pub fn counts(&self) -> bool {
        self.alive() && self.probe.is_none()
    }

    /// Whether its leader is known to lead a session and group of its own.
    pub fn leads_a_group(&self) -> bool {
        self.leader.is_some() && self.starting.is_none()
    }

    /// What it last said of its work.
    pub fn report(&self) -> Event {
        let (report, total) = (&self.hearing.report, self.hearing.report.total());
        Event::Reported {
            worker: self.id.clone(),
            generation: self.generation,
            status: report.status.clone(),
            jobs: Jobs::from(&total),
            busy: total.busy,
            job: total.job,
            since: total.since,
            parked: report.parked(),
        }
    }

    /// That its watchdog has expired, if it has.
    pub fn silence(&self, at: u64) -> Option<Event> {
        let silence = self.hearing.watchdog.expired?;
        Some(Event::WatchdogExpired { worker: self.id.clone(), generation: self.generation, silence, at })
    }

    /// What a snapshot says of it.
    pub fn record(&self) -> Record {
        Record {
            worker: self.id.clone(),
            generation: self.generation,
            fingerprint: self.fingerprint.clone(),
            phase: self.phase,
            pid: self.pid,
            at: self.at,
            deadline: self.deadline,
            stop: self.stop,
            wave: self.wave,
            asked: self.asked,
            status: self.status,
            failure: self.failure.clone(),
            ended: self.ended,
            ready: self.ready,
            parked: self.hearing.told_to_park,
        }
    }
}

/// One generation as an upgrade hands it on: what a snapshot says of it, and what the keeper alone knows.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedWorker {
    record: Record,
    #[serde(default)]
    leader: Option<SavedChild>,
    #[serde(default)]
    starting: Option<SavedStarting>,
    #[serde(default)]
    pipes: SavedPipes,
    #[serde(default)]
    output: Option<StreamId>,
    #[serde(default)]
    look: Option<u64>,
    #[serde(default)]
    pause: u64,
    #[serde(default)]
    group_asked: bool,
    #[serde(default)]
    killed: HashSet<i32>,
    #[serde(default)]
    group: Option<SavedGroup>,
    #[serde(default)]
    latest: Option<u64>,
    #[serde(default)]
    ready_by: ReadyBy,
    #[serde(default)]
    ready_line: Option<String>,
    #[serde(default)]
    doomed: bool,
    #[serde(default)]
    stuck: Option<Event>,
    #[serde(default)]
    hearing: SavedHearing,
    #[serde(default)]
    probe: Option<Box<Probe>>,
}

impl Worker {
    pub fn save(&self, luggage: &mut Luggage) -> SavedWorker {
        // In the record: these.
        let Worker { id: _, generation: _, fingerprint: _, phase: _, pid: _, at: _, deadline: _, stop: _, .. } = self;
        let Worker { wave: _, asked: _, status: _, failure: _, ended: _, ready: _, .. } = self;
        // Beside it: the others. Whoever adds a field adds it to one of the two.
        let Worker { leader, starting, pipes, output, look, pause, group_asked, killed, group, .. } = self;
        let Worker { latest, ready_by, ready_line, doomed, stuck, hearing, probe, .. } = self;
        SavedWorker {
            record: self.record(),
            leader: leader.as_ref().map(|leader| leader.save(luggage)),
            starting: starting.as_ref().map(|starting| starting.save(luggage)),
            pipes: pipes.save(luggage),
            output: *output,
            look: *look,
            pause: *pause,
            group_asked: *group_asked,
            killed: killed.clone(),
            group: group.as_ref().map(Group::save),
            latest: *latest,
            ready_by: *ready_by,
            ready_line: ready_line.clone(),
            doomed: *doomed,
            stuck: stuck.clone(),
            hearing: hearing.save(luggage),
            probe: probe.clone(),
        }
    }

    pub fn restore(saved: SavedWorker, inherited: &Inherited) -> Worker {
        let SavedWorker { record, leader, starting, pipes, output, look, pause, group_asked, killed, group, .. } =
            saved;
        let SavedWorker { latest, ready_by, ready_line, doomed, stuck, hearing, probe, .. } = saved;
        let Record { worker, generation, fingerprint, phase, pid, at, deadline, stop, .. } = record;
        Worker {
            id: worker,
            generation,
            fingerprint,
            phase,
            pid,
            leader: leader.map(|leader| Child::restore(leader, inherited)),
            starting: starting.map(|starting| Starting::restore(starting, inherited)),
            pipes: Pipes::restore(&pipes, inherited),
            output,
            at,
            deadline,
            look,
            pause,
            stop,
            wave: record.wave,
            asked: record.asked,
            group_asked,
            status: record.status,
            failure: record.failure,
            ended: record.ended,
            ready: record.ready,
            killed,
            group: group.map(Group::restore),
            latest,
            ready_by,
            ready_line,
            doomed,
            stuck,
            hearing: Hearing::restore(hearing, inherited),
            probe,
        }
    }
}

impl From<Exit> for Status {
    fn from(exit: Exit) -> Status {
        match exit {
            Exit::Code(code) => Status { code: Some(code), signal: None, oom: false },
            Exit::Signal(signal) => Status { code: None, signal: Some(signal), oom: false },
        }
    }
}
