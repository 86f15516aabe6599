//! The console, as the writer thread sees it: take a backlog, format a batch, write it, again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::backlog::{Backlog, Block, SavedBacklog};
use super::destination::{Destination, Kind};
use super::gauge::{Gauge, Policy};
use super::prefix::{grouped, Label, Style};
use super::rollover;
use super::shared::State;

/// Raw bytes formatted into one write. A block is at most 128 KiB, so a batch stays below twice this.
const BATCH: usize = 128 * 1024;
/// A file that refused the console is tried again after this long.
const RETRY: Duration = Duration::from_millis(250);

/// Where lines go that people watch, and how they look there.
#[derive(Debug)]
pub struct ConsoleConfig {
    /// The destination, usually a duplicate of descriptor 1. Its flags are never changed.
    pub fd: OwnedFd,
    /// Begin each line with the worker's id.
    pub prefix: bool,
    /// Give each worker's prefix a colour.
    pub colour: bool,
    /// Columns of the prefix before a longer id is seen.
    pub width: usize,
    /// Send a terminal whatever workers write, commands to the terminal included.
    pub raw: bool,
    /// Bytes above which a file begins anew. It is open for appending, and only we write to it.
    pub most: Option<u64>,
}

/// So many bytes of a worker, or of procq's own (no label).
pub(super) type Share = (Option<Arc<Label>>, usize);

/// Formatted and unformatted lines on their way to the destination.
#[derive(Debug)]
pub(super) struct Console {
    destination: Destination,
    kind: Kind,
    style: Style,
    most: Option<u64>,
    backlog: Backlog,
    batch: Vec<u8>,
    /// Bytes of the batch that are written.
    written: usize,
    /// Bytes of output that the batch stands for, and of whom how many.
    raw: usize,
    shares: Vec<Share>,
    /// The destination was full: wait until it is ready.
    pub blocked: bool,
    pub retry: Option<Instant>,
    closed: bool,
}

/// What is under way to a console, as an upgrade hands it on. Where it goes to, and how, the next image finds out anew.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedConsole {
    backlog: SavedBacklog,
    #[serde(with = "serde_bytes")]
    batch: Vec<u8>,
    written: usize,
    raw: usize,
    shares: Vec<(Option<String>, usize)>,
    closed: bool,
}

impl Console {
    pub fn save(&self) -> SavedConsole {
        let Console { destination: _, kind: _, style: _, most: _, backlog, batch, written, raw, .. } = self;
        let Console { shares, blocked: _, retry: _, closed, .. } = self;
        let name = |label: &Option<Arc<Label>>| label.as_ref().map(|label| label.name().to_owned());
        SavedConsole {
            backlog: backlog.save(),
            batch: batch.clone(),
            written: *written,
            raw: *raw,
            shares: shares.iter().map(|(label, bytes)| (name(label), *bytes)).collect(),
            closed: *closed,
        }
    }

    pub fn restore(config: ConsoleConfig, saved: SavedConsole) -> Console {
        let written = saved.written.min(saved.batch.len());
        let (backlog, batch, raw, closed) = (Backlog::restore(saved.backlog), saved.batch, saved.raw, saved.closed);
        let label = |name: String| Arc::new(Label::new(Arc::from(name)));
        let shares = saved.shares.into_iter().map(|(name, bytes)| (name.map(label), bytes)).collect();
        Console { backlog, batch, written, raw, shares, closed, ..Console::new(config) }
    }

    pub fn new(config: ConsoleConfig) -> Self {
        let kind = Kind::of(config.fd.as_fd());
        let style = Style {
            prefix: config.prefix,
            colour: config.colour,
            sanitize: kind == Kind::Terminal && !config.raw,
            width: config.width,
        };
        Console {
            destination: Destination::new(config.fd, kind),
            kind,
            style,
            most: config.most.filter(|_| kind == Kind::File),
            backlog: Backlog::default(),
            batch: Vec::new(),
            written: 0,
            raw: 0,
            shares: Vec::new(),
            blocked: false,
            retry: None,
            closed: false,
        }
    }

    /// The books for a destination of this kind.
    pub fn gauge(&self) -> Gauge {
        let (policy, capacity) = match self.kind {
            // Little: who presses ^Q wants to see the present soon.
            Kind::Terminal => (Policy::Drop, 512 * 1024),
            Kind::Pipe | Kind::Socket => (Policy::Drop, 8 * 1024 * 1024),
            Kind::File => (Policy::Wait, 4 * 1024 * 1024),
        };
        Gauge::new(policy, capacity, Instant::now())
    }

    /// The descriptor to wait for, while the destination is full.
    pub fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.blocked.then(|| self.destination.as_fd())
    }

    /// Takes over what has come meanwhile. True if there is something to write now.
    pub fn refill(&mut self, state: &mut State, now: Instant) -> bool {
        let paused = state.console.paused && self.kind != Kind::File;
        if paused || self.blocked || self.closed || self.retry.is_some_and(|at| at > now) {
            return false;
        }
        self.style.width = self.style.width.max(state.console.width);
        if self.is_done() {
            self.backlog.clear();
            state.note_losses();
            if state.console.backlog.is_empty() {
                return false;
            }
            std::mem::swap(&mut self.backlog, &mut state.console.backlog);
        }
        true
    }

    fn is_done(&self) -> bool {
        self.written == self.batch.len() && self.backlog.is_empty()
    }

    /// Formats and writes one batch, or goes on with the one that was not taken whole.
    pub fn write(&mut self, now: Instant) -> Progress {
        if self.written == self.batch.len() {
            self.format();
        }
        self.retry = None;
        match self.destination.write(&self.batch[self.written..]) {
            Ok(length) => {
                self.written += length;
                let complete = self.written == self.batch.len();
                if complete {
                    self.limit();
                }
                Progress::Wrote(if complete { std::mem::take(&mut self.raw) } else { 0 })
            }
            Err(Errno::AGAIN) => {
                self.blocked = true;
                Progress::Full
            }
            Err(errno) if self.kind == Kind::File => {
                self.retry = Some(now + RETRY);
                Progress::Failed(errno)
            }
            Err(_) => {
                self.closed = true;
                Progress::Closed
            }
        }
    }

    /// Nobody reads any more: forgets everything, and gives whose it was. A batch that was not taken whole counts as lost.
    pub fn abandon(&mut self) -> Vec<Share> {
        let shares = std::mem::take(&mut self.shares).into_iter().chain(self.backlog.shares()).collect();
        self.raw = 0;
        self.relax();
        shares
    }

    /// Between two batches, and so between two lines.
    fn limit(&self) {
        let file = self.destination.as_fd();
        let is_large = |most: u64| rustix::fs::fstat(file).is_ok_and(|stat| stat.st_size.unsigned_abs() > most);
        if self.most.is_some_and(is_large) {
            // What cannot be kept is lost: it must not grow for ever.
            let _ = rollover::begin_anew(file);
        }
    }

    /// Whether buffers are held that could be given back.
    pub fn is_relaxed(&self) -> bool {
        self.batch.capacity() == 0 && self.backlog.data.capacity() == 0
    }

    /// Nothing is under way: gives the buffers back.
    pub fn relax(&mut self) {
        if self.is_done() || self.closed {
            self.backlog = Backlog::default();
            self.batch = Vec::new();
            self.shares = Vec::new();
            self.written = 0;
        }
    }

    fn format(&mut self) {
        self.batch.clear();
        self.shares.clear();
        self.written = 0;
        while self.raw < BATCH {
            match self.backlog.pop() {
                Some(Block::Lines(label, range)) => {
                    self.raw += range.len();
                    self.style.format(label.as_deref(), &self.backlog.data[range.clone()], &mut self.batch);
                    self.shares.push((label, range.len()));
                }
                Some(Block::Loss(lines)) => self.format_loss(lines),
                None => break,
            }
        }
    }

    fn format_loss(&mut self, lines: u64) {
        let (noun, verb) = if lines == 1 { ("line", "was") } else { ("lines", "were") };
        let why = match self.kind {
            Kind::Terminal => "the terminal was too slow",
            Kind::Pipe | Kind::Socket => "the reader of this output was too slow",
            Kind::File => "the file took no data",
        };
        // Begins with an ellipsis where workers' lines begin with a name: no worker can write such a line.
        let notice = format!("… {} {noun} {verb} not shown: {why}\n", grouped(lines));
        self.style.format(None, notice.as_bytes(), &mut self.batch);
    }
}

/// What one attempt at the console gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Something was taken; so many bytes of output are done with.
    Wrote(usize),
    Full,
    Failed(Errno),
    /// Nobody reads any more.
    Closed,
}
