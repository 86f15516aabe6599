//! What a worker is to be: its command, surroundings, end and log, as messages carry it.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Who hears the stop signal first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum StopTo {
    #[default]
    Leader,
    /// The leader's process group.
    Group,
}

/// How a worker is asked to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopPolicy {
    /// Signal number.
    pub signal: i32,
    /// Who gets it.
    #[serde(default)]
    pub to: StopTo,
    /// Milliseconds before the whole tree gets SIGKILL.
    pub grace: u64,
}

impl Default for StopPolicy {
    fn default() -> Self {
        StopPolicy { signal: libc::SIGTERM, to: StopTo::Leader, grace: 10_000 }
    }
}

/// Who a worker runs as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    #[serde(default)]
    pub groups: Vec<u32>,
}

/// A resource limit as setrlimit(2) takes it; `u64::MAX` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Limit {
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

/// How lines stand in a log file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// As written.
    #[default]
    Text,
    /// Behind time and worker.
    Prefixed,
    /// Each as a JSON object.
    Json,
}

/// The file that takes a worker's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Absolute.
    pub path: ByteBuf,
    /// How lines stand in it.
    #[serde(default)]
    pub format: LogFormat,
    /// Bytes beyond which it is not let grow; never rotated when absent.
    #[serde(default)]
    pub rotate: Option<u64>,
    /// Closed files that stay.
    #[serde(default)]
    pub keep: u32,
    /// What the file does not take: the worker waits, instead of losing it.
    #[serde(default)]
    pub block: bool,
    /// Milliseconds after which it is closed; never when absent.
    #[serde(default)]
    pub rotate_every: Option<u64>,
    /// Whether closed files are compressed.
    #[serde(default)]
    pub compress: bool,
    /// Bytes that the file and its closed ones may take together.
    #[serde(default)]
    pub total: Option<u64>,
}

impl Log {
    /// A file that takes the bytes as they are, and grows.
    pub fn at(path: &Path) -> Log {
        let path = path.as_os_str().as_bytes().to_vec().into();
        let (rotate, rotate_every, total) = (None, None, None);
        Log { path, format: LogFormat::Text, rotate, keep: 0, block: false, rotate_every, compress: false, total }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }
}

/// By what the keeper sees that a worker is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadyBy {
    /// It executes.
    #[default]
    Spawned,
    /// `READY=1` on its notify socket.
    Notify,
    /// A line of its output that matches `ready_line`.
    Line,
    /// Nothing: the control plane finds it out, and tells by `MarkReady`.
    Told,
}

/// Everything needed to start one worker; the keeper does not keep it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawn {
    /// `queue.slot`, the name people use.
    pub worker: String,
    /// Unique for each spawn in the life of a keeper, ever growing; chosen by the control plane.
    pub generation: u64,
    /// Opaque to the keeper: the hash of what a change of which replaces the worker.
    pub fingerprint: String,
    /// Argument vector; `argv[0]` is looked up in the PATH of `env`, relative to `directory`.
    pub argv: Vec<ByteBuf>,
    /// `NAME=value`, the whole environment.
    pub env: Vec<ByteBuf>,
    /// Working directory; the keeper's own when absent.
    #[serde(default)]
    pub directory: Option<ByteBuf>,
    /// File mode creation mask; the keeper's own when absent.
    #[serde(default)]
    pub umask: Option<u32>,
    /// Who it runs as; as the keeper does when absent.
    #[serde(default)]
    pub user: Option<Identity>,
    /// Its priority, -20 (first) to 19.
    #[serde(default)]
    pub nice: Option<i32>,
    /// Resource limits that differ from the keeper's.
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// Whether its output is a terminal.
    #[serde(default)]
    pub tty: bool,
    /// When everything is stopped, higher waves go first.
    #[serde(default)]
    pub wave: u32,
    /// How the worker is asked to leave.
    #[serde(default)]
    pub stop: StopPolicy,
    /// File that takes the worker's output, opened with the rights of `user`.
    #[serde(default)]
    pub log: Option<Log>,
    /// What makes it ready.
    #[serde(default)]
    pub ready: ReadyBy,
    /// A regular expression: the first line of output that matches it makes the worker ready.
    #[serde(default)]
    pub ready_line: Option<String>,
    /// Milliseconds without `WATCHDOG=1` after which it hangs; they run once it is ready.
    #[serde(default)]
    pub watchdog: Option<u64>,
    /// Bytes of memory that its queue allows the whole tree.
    #[serde(default)]
    pub memory: Option<u64>,
    /// Processes and threads that its queue allows the whole tree.
    #[serde(default)]
    pub pids: Option<u64>,
    /// It takes no jobs before it is told to.
    #[serde(default)]
    pub parked: bool,
    /// It is no worker but looks after one: it belongs to no slot, and is killed with its tree after so many milliseconds.
    #[serde(default)]
    pub probe: Option<u64>,
}

/// What can change while a worker runs: its generation is to have these settings instead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Configure {
    pub worker: String,
    pub generation: u64,
    pub stop: StopPolicy,
    #[serde(default)]
    pub wave: u32,
    #[serde(default)]
    pub log: Option<Log>,
    #[serde(default)]
    pub ready: ReadyBy,
    #[serde(default)]
    pub ready_line: Option<String>,
    #[serde(default)]
    pub memory: Option<u64>,
    #[serde(default)]
    pub pids: Option<u64>,
}
