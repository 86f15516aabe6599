//! What the keeper and its clients say to each other.
//!
//! Two dialogues share the codec: the *control plane* (or the owner in library use) on an inherited
//! socket pair, and any *client* of the same user on the keeper's own socket. Every message is a
//! MessagePack map with the key `t` naming its kind. Fields unknown to the reader are ignored, kinds
//! unknown to the reader become `Unknown`: an older side survives a newer one.
//!
//! Units: durations are milliseconds, `at` is nanoseconds of `CLOCK_MONOTONIC`, `time` is
//! nanoseconds since the Unix epoch, sizes are bytes.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

pub use super::spec::{Configure, Identity, Limit, Log, LogFormat, ReadyBy, Spawn, StopPolicy, StopTo};

/// The newest protocol this build speaks.
pub const VERSION: u32 = 1;
/// The oldest protocol this build still understands.
pub const OLDEST: u32 = 1;

/// From the control plane to the keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Command {
    /// First message of a control plane.
    Hello {
        oldest: u32,
        newest: u32,
    },
    Spawn(Spawn),
    /// Ask a worker to leave: its stop policy, or what `signal` and `grace` say instead.
    Stop {
        worker: String,
        generation: u64,
        #[serde(default)]
        signal: Option<i32>,
        #[serde(default)]
        grace: Option<u64>,
    },
    /// Change what can change while a worker runs.
    Configure(Configure),
    /// The control plane has found out that this generation is ready: snapshots say so from now on.
    MarkReady {
        worker: String,
        generation: u64,
    },
    /// Tell this worker to take no more jobs, or to take some again. Whether it does is said by its reports.
    Park {
        worker: String,
        generation: u64,
        parked: bool,
    },
    /// The exit of this generation is known and recorded: its record may go.
    Forget {
        worker: String,
        generation: u64,
    },
    /// One part of the intent that must survive the control plane; see `blob`.
    Blob {
        part: u32,
        parts: u32,
        crc: u32,
        data: ByteBuf,
    },
    /// Lines of the control plane for the terminal.
    Console {
        lines: Vec<String>,
    },
    /// The control plane works: `procq up -d` may return.
    Ready {},
    /// For the service manager that procq runs under: lines as in sd_notify(3).
    ServiceState {
        state: String,
    },
    Pong {
        n: u64,
    },
    /// Stop everything, then leave with this exit code.
    Shutdown {
        #[serde(default)]
        fast: bool,
        #[serde(default)]
        exit_code: i32,
        reason: String,
    },
    #[serde(other)]
    Unknown,
}

/// Where a spawn failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Stage {
    /// Resources of the keeper: descriptors, memory, process limit.
    Clone = 1,
    Signals = 2,
    Session = 3,
    DeathSignal = 4,
    Mark = 5,
    Streams = 6,
    Umask = 7,
    Directory = 8,
    Descriptors = 9,
    Exec = 10,
    /// The file is there, the interpreter its first line names is not.
    Interpreter = 11,
    /// Its group and supplementary groups. Of this and the next the failure's path is the number of the user.
    Groups = 12,
    /// Becoming the user, and giving up every way back.
    User = 13,
    Nice = 14,
    /// The failure's path is the name of the limit.
    Limits = 15,
    /// A pseudo-terminal, or its becoming the one that controls the session.
    Terminal = 16,
    /// Its control group.
    Cgroup = 17,
}

/// Life of a worker as the keeper sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Phase {
    /// Cloned, exec not yet reported.
    Starting,
    Running,
    /// Asked to leave, leader still alive.
    Stopping,
    /// Leader gone, descendants are being ended.
    Draining,
    /// Nothing of it is left; kept until forgotten.
    Gone,
}

/// How a leader ended; exactly one of the two is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Exit code.
    pub code: Option<i32>,
    /// Signal number.
    pub signal: Option<i32>,
    /// The kernel killed a process of its tree because the tree had no memory left.
    #[serde(default)]
    pub oom: bool,
}

/// Why and where a spawn failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step that failed.
    pub stage: Stage,
    /// Error number.
    pub errno: i32,
    /// The path it failed on, or what the stage says; empty where there is none.
    pub path: ByteBuf,
    /// A lack of resources that may pass (EAGAIN, ENOMEM, EMFILE, ENFILE, ETXTBSY …), not a fault of the command.
    pub transient: bool,
}

/// One worker in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Record {
    pub worker: String,
    pub generation: u64,
    pub fingerprint: String,
    pub phase: Phase,
    pub pid: i32,
    /// When it was spawned.
    pub at: u64,
    /// SIGKILL comes then, while stopping or draining.
    pub deadline: Option<u64>,
    pub stop: StopPolicy,
    /// In which order it goes when everything is stopped, as it was told last.
    #[serde(default)]
    pub wave: u32,
    /// It was told to leave before it ended.
    #[serde(default)]
    pub asked: bool,
    pub status: Option<Status>,
    pub failure: Option<Failure>,
    /// When the leader ended or the spawn failed.
    pub ended: Option<u64>,
    /// When it became ready.
    #[serde(default)]
    pub ready: Option<u64>,
    /// When it was told to take no more jobs, unless it was told to take some again.
    #[serde(default)]
    pub parked: Option<u64>,
}

/// Numbers of jobs since somebody's start; absent is what was not said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Jobs {
    /// Finished ones, however.
    pub jobs: Option<u64>,
    pub failed: Option<u64>,
    pub retried: Option<u64>,
    /// Microseconds that they took together.
    pub took_usec: Option<u64>,
    /// How many of them took how long, see [`crate::notify::BUCKETS`].
    pub took: Vec<u64>,
}

/// From the keeper to the control plane. What happened; lost ones heal by the next snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Event {
    /// Answer to `Hello`, followed by the blob's parts if there is one, `Workers`, and `SnapshotEnd`.
    Welcome {
        version: u32,
        epoch: u64,
        instance: u64,
        last_generation: u64,
        shutting_down: bool,
        /// A control plane before this one has said that everything runs.
        was_ready: bool,
    },
    /// The versions do not meet.
    Incompatible {
        oldest: u32,
        newest: u32,
    },
    Blob {
        part: u32,
        parts: u32,
        crc: u32,
        data: ByteBuf,
    },
    /// Part of a snapshot. The whole of it replaces what was known.
    Workers {
        items: Vec<Record>,
    },
    SnapshotEnd {
        at: u64,
        last_generation: u64,
    },
    /// Events were dropped; a fresh snapshot follows.
    Gap {},
    /// Exec has happened.
    Executing {
        worker: String,
        generation: u64,
        pid: i32,
        at: u64,
    },
    /// `READY=1` has come, or a line that matches the pattern.
    Ready {
        worker: String,
        generation: u64,
        at: u64,
    },
    /// No `WATCHDOG=1` came for `silence` milliseconds; 0 where the worker itself said `WATCHDOG=trigger`. Told once.
    WatchdogExpired {
        worker: String,
        generation: u64,
        silence: u64,
        at: u64,
    },
    /// What the worker last said of itself on its notify socket; absent is what it has not said.
    Reported {
        worker: String,
        generation: u64,
        status: String,
        /// Totals since its start.
        #[serde(flatten)]
        jobs: Jobs,
        /// Jobs it is at.
        busy: Option<u64>,
        /// One of them, by id and name, and when it was first told of.
        job: String,
        since: Option<u64>,
        /// Whether it takes no more jobs; absent of one that cannot be told not to.
        parked: Option<bool>,
    },
    /// What the workers of a queue have done that are gone, `generation` the one that was just added; 0 in a snapshot.
    Tally {
        queue: String,
        generation: u64,
        #[serde(flatten)]
        jobs: Jobs,
    },
    /// A probe has ended; `generation` is its own, `worker` the one it looked after. Nothing else tells of it.
    Probed {
        worker: String,
        generation: u64,
        status: Option<Status>,
        failure: Option<Failure>,
        /// It was killed for its time.
        timed_out: bool,
        /// The last of what it wrote.
        output: String,
    },
    /// SIGKILL was sent some seconds ago and something is there still: its pid, name, state, and where in the kernel it waits.
    Stuck {
        worker: String,
        generation: u64,
        what: String,
        at: u64,
    },
    SpawnFailed {
        worker: String,
        generation: u64,
        failure: Failure,
        at: u64,
    },
    /// The keeper has sent the stop signal.
    Stopping {
        worker: String,
        generation: u64,
        deadline: u64,
        at: u64,
    },
    /// The leader has ended; its tree may still be there.
    Exited {
        worker: String,
        generation: u64,
        status: Status,
        at: u64,
    },
    /// Nothing of this generation is left: the slot is free. `killed` processes needed SIGKILL.
    Gone {
        worker: String,
        generation: u64,
        killed: u32,
        at: u64,
    },
    /// A process that no worker can be charged with; it ends at shutdown.
    Stray {
        pid: i32,
        name: String,
    },
    /// A command could not be carried out.
    Refused {
        worker: String,
        generation: u64,
        why: String,
    },
    /// Something about a log file fails, or works again (`errno` 0); `dropped` bytes were lost.
    LogTrouble {
        worker: String,
        path: ByteBuf,
        #[serde(default)]
        problem: LogProblem,
        errno: i32,
        dropped: u64,
    },
    Ping {
        n: u64,
    },
    /// A control plane of another version takes your place: finish what is under way, then hang up.
    Retire {},
    /// SIGHUP: look at the manifest again.
    Reload {},
    /// Everything is being stopped; nothing may be started any more.
    ShuttingDown {
        reason: String,
        fast: bool,
    },
    #[serde(other)]
    Unknown,
}

/// What fails about a log file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogProblem {
    /// It takes no data.
    #[default]
    Data,
    /// It cannot be rotated, and goes on growing.
    Rotation,
    /// A closed one cannot be compressed.
    Compression,
    /// Closed ones that are too much cannot be removed.
    Removal,
}

/// From a client on the keeper's own socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Request {
    Info {},
    /// Stop everything and leave; `Progress` follows until the end of the stream.
    Stop {
        #[serde(default)]
        fast: bool,
        /// Who asks, for the log.
        #[serde(default)]
        who: String,
    },
    /// Output of workers: the last `tail` lines, then, if asked, what follows. Globs over worker ids; none is all.
    Logs {
        #[serde(default)]
        workers: Vec<String>,
        #[serde(default)]
        tail: u32,
        #[serde(default)]
        follow: bool,
        /// Of the control plane, for those who are elsewhere: what waits for it outlives its connection for a while, and the next
        /// such reader goes on with it, without a tail. Asked again it follows others from now on; without `follow` it leaves,
        /// and `TailEnd` comes after what was sent.
        #[serde(default)]
        lasting: bool,
    },
    /// What has become of the output of each queue: `Accounts` follow.
    Accounts {},
    /// Become another version, while workers run. `Upgraded` follows, or an `Error`: then everything is as it was.
    Upgrade(Order),
    #[serde(other)]
    Unknown,
}

/// Which version to become: the words are those of [`crate::image`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Order {
    /// Its name, for people.
    pub release: String,
    /// The command of its image.
    pub command: Vec<ByteBuf>,
    /// Files that the command names and consists of. Absolute, owned by the keeper's user or root.
    pub files: Vec<ByteBuf>,
    /// The first words of its control plane's command; what begins with two dashes stays as it was.
    pub control: Vec<ByteBuf>,
    /// Who asks, for the log.
    pub who: String,
}

/// From the keeper to a client on its own socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Reply {
    Info {
        version: u32,
        pid: i32,
        sentinel: i32,
        control_plane: Option<i32>,
        /// How often a control plane was started.
        epoch: u64,
        ready: bool,
        shutting_down: bool,
        /// Nanoseconds since the epoch.
        started: u64,
        workers: u32,
        running: u32,
        /// The version, for people.
        #[serde(default)]
        release: String,
        /// Of containment; 0 of a keeper that does not know.
        #[serde(default)]
        tier: u8,
        /// No control group can be made for new workers at the moment.
        #[serde(default)]
        degraded: bool,
    },
    /// Sent on every change while everything stops.
    Progress {
        alive: u32,
        total: u32,
        deadline: u64,
    },
    /// Everything is gone.
    Stopped {
        killed: u32,
    },
    /// The one that answers is another version than the one that was asked. Of the control plane nothing is said yet: a new one is
    /// there when its number is above `epoch`.
    Upgraded {
        from: String,
        to: String,
        workers: u32,
        /// Nanoseconds from the request until now, and for how many of them nothing was read or reaped.
        took: u64,
        held: u64,
        epoch: u64,
    },
    /// A piece of output, whole lines except where `partial`.
    Output {
        worker: String,
        stream: Stream,
        time: u64,
        data: ByteBuf,
        partial: bool,
        /// Of the worker; 0 where it is not known any more, or to a keeper that does not say.
        #[serde(default)]
        generation: u64,
    },
    /// `bytes` were not delivered because the reader was too slow.
    Gap {
        bytes: u64,
        /// Lines of that, a part of one that was too long counted as one; 0 of a keeper that does not say.
        #[serde(default)]
        lines: u64,
    },
    /// Some queues; `last` where no more follow.
    Accounts {
        items: Vec<OutputAccount>,
        last: bool,
    },
    /// The tail is complete; without `follow` nothing more comes.
    TailEnd {},
    Error {
        message: String,
    },
    #[serde(other)]
    Unknown,
}

/// What has become of the output of a queue since the start. What is dropped is counted in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct OutputAccount {
    pub queue: String,
    pub bytes: u64,
    pub lines: u64,
    /// By who did not get it.
    pub console_dropped: u64,
    pub file_dropped: u64,
    pub readers_dropped: u64,
}

/// Which of a worker's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Stream {
    Stdout,
    Stderr,
}
