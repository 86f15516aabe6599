//! Bytes on their way into one file: the reactor puts them down, the writer thread takes them up.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::gauge::{Gauge, Policy};
use super::shared::{Problem, Trouble};
use crate::proto::messages::{Identity, Log, LogFormat, Stream};

/// Bytes waiting for one file before its workers have to wait.
pub(super) const FILE_QUEUE: usize = 4 * 1024 * 1024;
/// How exactly it is known when plain bytes were read; also the step of the index.
pub(super) const TIME_STEP: Duration = Duration::from_millis(100);
/// Most bytes of one block: what the writer formats without looking up.
const BLOCK: usize = 64 * 1024;

/// What can change while a file is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Settings {
    pub format: LogFormat,
    /// Bytes beyond which it is not let grow.
    pub rotate: Option<u64>,
    /// How long after its first byte it is closed.
    pub rotate_every: Option<Duration>,
    /// Closed files that stay.
    pub keep: u32,
    /// Closed files are compressed.
    pub compress: bool,
    /// Bytes that it and its closed files may have together.
    pub total: Option<u64>,
}

impl Settings {
    pub fn of(log: &Log) -> Settings {
        Settings {
            format: log.format,
            rotate: log.rotate,
            rotate_every: log.rotate_every.map(Duration::from_millis),
            keep: log.keep,
            compress: log.compress,
            total: log.total,
        }
    }
}

/// Who wrote a block that is to be formatted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Source {
    pub worker: Arc<str>,
    pub stream: Stream,
}

/// Lines that were read at one time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Block {
    /// Where the next one begins.
    pub end: usize,
    /// Nanoseconds since the epoch.
    pub time: u64,
    /// None where the bytes are written as they are.
    pub source: Option<Source>,
}

/// The bytes, and what is known of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Pieces {
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
    pub blocks: Vec<Block>,
    /// One of the blocks at least is to be formatted.
    pub formatted: bool,
}

impl Pieces {
    /// Appends bytes that are written as they are.
    pub fn push_plain(&mut self, data: &[u8], time: u64) {
        self.data.extend_from_slice(data);
        let end = self.data.len();
        match self.blocks.last_mut() {
            // A clock that was set back makes a huge difference, and with it a block of its own.
            Some(last) if last.source.is_none() && time.wrapping_sub(last.time) < TIME_STEP.as_nanos() as u64 => {
                last.end = end;
            }
            _ => self.blocks.push(Block { end, time, source: None }),
        }
    }

    /// Appends lines that the writer will format.
    pub fn push_lines(&mut self, data: &[u8], time: u64, worker: &Arc<str>, stream: Stream) {
        let (start, last) = (self.data.len(), self.blocks.len().checked_sub(1));
        self.data.extend_from_slice(data);
        let end = self.data.len();
        self.formatted = true;
        let begin = last.and_then(|last| Some(self.blocks.get(last.checked_sub(1)?)?.end)).unwrap_or(0);
        let whole = self.data[..start].ends_with(b"\n");
        match self.blocks.last_mut() {
            Some(Block { end: last, time: at, source: Some(source) })
                if *at == time
                    && whole
                    && source.stream == stream
                    && Arc::ptr_eq(&source.worker, worker)
                    && end - begin <= BLOCK =>
            {
                *last = end;
            }
            _ => {
                let source = Some(Source { worker: Arc::clone(worker), stream });
                self.blocks.push(Block { end, time, source });
            }
        }
    }

    /// What the books cost beyond the bytes.
    pub fn overhead(&self) -> usize {
        self.blocks.len() * size_of::<Block>()
    }
}

/// One file's queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FileQueue {
    #[serde(with = "crate::state::paths")]
    pub path: Arc<Path>,
    /// The worker that named it first.
    pub owner: Arc<str>,
    /// With whose rights it is opened; the keeper's own without. Those of the first member, or of the last one that there was.
    #[serde(default)]
    pub user: Option<Arc<Identity>>,
    #[serde(default)]
    pub settings: Settings,
    #[serde(default)]
    pub pieces: Pieces,
    #[serde(default)]
    pub gauge: Gauge,
    /// What fails beside the data, and why.
    #[serde(default)]
    pub failing: Vec<(Problem, i32)>,
    /// How many write here, by their rights.
    #[serde(default)]
    members: Vec<(Option<Arc<Identity>>, u32)>,
    /// In the list of what the writer has to look at.
    #[serde(skip)]
    pub listed: bool,
}

impl FileQueue {
    pub fn new(log: &Log, user: Option<&Arc<Identity>>, owner: &Arc<str>) -> FileQueue {
        FileQueue {
            path: Arc::from(log.path()),
            owner: Arc::clone(owner),
            user: user.cloned(),
            settings: Settings::of(log),
            pieces: Pieces::default(),
            gauge: Gauge::new(policy(log), FILE_QUEUE, Instant::now()),
            failing: Vec::new(),
            members: Vec::new(),
            listed: false,
        }
    }

    /// One more writes here: his word on how counts from now on. True if his rights are others than those it has.
    pub fn join(&mut self, log: &Log, user: Option<&Arc<Identity>>) -> bool {
        match self.members.iter_mut().find(|(rights, _)| rights.as_ref() == user) {
            Some((_, count)) => *count += 1,
            None => self.members.push((user.cloned(), 1)),
        }
        self.follow_first();
        self.settings = Settings::of(log);
        self.gauge.set_policy(policy(log));
        self.user.as_ref() != user
    }

    /// One of those who joined with these rights has gone.
    pub fn leave(&mut self, user: Option<&Arc<Identity>>) {
        if let Some((_, count)) = self.members.iter_mut().find(|(rights, _)| rights.as_ref() == user) {
            *count -= 1;
        }
        self.members.retain(|(_, count)| *count > 0);
        self.follow_first();
    }

    /// Notes that something fails beside the data (why), or works again (0). Gives what there is to tell.
    pub fn upkeep(&mut self, problem: Problem, errno: i32) -> Trouble {
        self.failing.retain(|(failing, _)| *failing != problem);
        if errno != 0 {
            self.failing.push((problem, errno));
        }
        self.trouble(problem, errno, 0)
    }

    /// Whether this is known to fail.
    pub fn is_failing(&self, problem: Problem) -> bool {
        self.failing.iter().any(|(failing, _)| *failing == problem)
    }

    /// All that fails now.
    pub fn troubles(&self) -> impl Iterator<Item = Trouble> + '_ {
        let data = self.gauge.trouble().map(|errno| self.trouble(Problem::Data, errno, self.gauge.lost()));
        data.into_iter().chain(self.failing.iter().map(|&(problem, errno)| self.trouble(problem, errno, 0)))
    }

    /// Something to tell of this file.
    pub fn trouble(&self, problem: Problem, errno: i32, dropped: u64) -> Trouble {
        Trouble { problem, worker: self.owner.to_string(), path: self.path.to_path_buf(), errno, dropped }
    }

    /// Whether nobody writes here any more.
    pub fn is_left(&self) -> bool {
        self.members.is_empty()
    }

    fn follow_first(&mut self) {
        if let Some((rights, _)) = self.members.first() {
            self.user.clone_from(rights);
        }
    }
}

fn policy(log: &Log) -> Policy {
    if log.block {
        Policy::Block
    } else {
        Policy::Wait
    }
}
