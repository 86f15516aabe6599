//! The whole of it, with real files, pipes, sockets and terminals.

mod accounts;
mod aging;
mod blocking;
mod compression;
mod console;
mod files;
mod formats;
mod index;
mod readers;
mod resting;
mod rights;
mod rotation;
mod total;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{poll, EventfdFlags, PollFd, PollFlags, Timespec};

use super::*;
use crate::proto::messages::Log;

const LIMIT: Duration = Duration::from_secs(20);

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("procq-output-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Scratch(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An output together with the reactor's end of its bell.
struct Fixture {
    output: Output,
    bell: OwnedFd,
}

impl Fixture {
    fn new(config: ConsoleConfig) -> Self {
        let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd");
        let wake = bell.try_clone().expect("a duplicate");
        Fixture { output: Output::start(config, wake).expect("a writer"), bell }
    }

    fn silent() -> Self {
        Fixture::new(plain(File::options().write(true).open("/dev/null").expect("a null device")))
    }

    /// Waits for news of the writer, at most until the output's own deadline.
    fn wait(&mut self) {
        let limit = self.output.deadline().map_or(LIMIT, |at| at.saturating_duration_since(Instant::now()));
        let limit = Timespec::try_from(limit + Duration::from_millis(1)).expect("short");
        let _ = poll(&mut [PollFd::new(&self.bell, PollFlags::IN)], Some(&limit));
        let _ = rustix::io::read(&self.bell, &mut [0_u8; 8]);
    }

    /// Hands data in as the reactor does: waits when told to.
    fn feed(&mut self, id: StreamId, data: &[u8]) {
        while !self.output.may_read(id) {
            self.wait();
            self.output.take_resumable(Instant::now());
        }
        let _ = self.output.ingest(id, Stream::Stdout, 1, data);
    }

    /// The next trouble.
    fn trouble(&mut self) -> Trouble {
        let until = Instant::now() + LIMIT;
        while Instant::now() < until {
            self.output.take_resumable(Instant::now());
            if let Some(trouble) = self.output.take_troubles().into_iter().next() {
                return trouble;
            }
            self.wait();
        }
        panic!("no trouble was reported");
    }

    fn flush(&mut self) {
        assert!(self.output.flush(Instant::now() + LIMIT), "not written in time");
    }

    fn stop(self) -> Counters {
        self.output.stop(Instant::now() + LIMIT)
    }
}

fn plain(fd: impl Into<OwnedFd>) -> ConsoleConfig {
    ConsoleConfig { fd: fd.into(), prefix: true, colour: false, width: 0, raw: false, most: None }
}

/// A file that is rotated.
fn rotated(path: &Path, rotate: u64, keep: u32) -> Log {
    Log { rotate: Some(rotate), keep, ..Log::at(path) }
}

/// FILE.1, FILE.2 … or FILE.idx.
fn beside(path: &Path, suffix: impl std::fmt::Display) -> PathBuf {
    PathBuf::from(format!("{}.{suffix}", path.display()))
}

/// A file and its closed ones, oldest first, compressed or not. One may get another name while we look: then we look again.
fn segments(path: &Path) -> Vec<Vec<u8>> {
    let until = Instant::now() + LIMIT;
    loop {
        if let Some(all) = segments_now(path) {
            return all;
        }
        assert!(Instant::now() < until, "its segments never came to rest");
    }
}

fn segments_now(path: &Path) -> Option<Vec<Vec<u8>>> {
    let form =
        |number| [beside(path, number), beside(path, format!("{number}.gz"))].into_iter().find(|path| path.exists());
    let mut all: Vec<PathBuf> = (1..).map_while(form).collect();
    all.reverse();
    all.push(path.to_path_buf());
    all.iter()
        .map(|path| {
            let content = std::fs::read(path).ok()?;
            Some(if path.extension().is_some_and(|end| end == "gz") { gunzip(&content) } else { content })
        })
        .collect()
}

fn gunzip(compressed: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    flate2::read::GzDecoder::new(compressed).read_to_end(&mut content).expect("a whole gzip file");
    content
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A disk of a megabyte, or none where this user may not mount.
fn small_disk(scratch: &Scratch, test: &str) -> bool {
    let options = std::ffi::CString::new("size=1m").expect("no NUL");
    let mounted =
        rustix::mount::mount("procq-test", &scratch.0, "tmpfs", rustix::mount::MountFlags::empty(), &*options);
    if let Err(error) = &mounted {
        eprintln!("SKIPPED {test}: no tmpfs can be mounted here ({error})");
    }
    mounted.is_ok()
}

/// `line 0`, `line 1` …, each of `LINE` bytes.
fn numbered(numbers: std::ops::Range<usize>) -> Vec<u8> {
    numbers.flat_map(|number| format!("line {number:0width$}\n", width = LINE - 6).into_bytes()).collect()
}

const LINE: usize = 50;

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < until, "never happened: {what}");
        std::thread::yield_now();
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("a readable file")
}

/// Takes what is in a descriptor now.
fn read_now(fd: impl AsFd) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 65536];
    let ready = |limit| {
        let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
        poll(&mut fds, Some(&limit)).expect("poll") > 0 && fds[0].revents().contains(PollFlags::IN)
    };
    while ready(Timespec { tv_sec: 0, tv_nsec: 0 }) {
        let count = rustix::io::read(fd.as_fd(), &mut buffer).expect("readable");
        if count == 0 {
            break;
        }
        all.extend_from_slice(&buffer[..count]);
    }
    all
}

fn read_all(file: &mut File) -> Vec<u8> {
    let mut all = Vec::new();
    file.read_to_end(&mut all).expect("readable to its end");
    all
}

/// Deterministic pseudo-random numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}
