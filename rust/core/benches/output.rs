//! Throughput of the output path: 80-byte lines, from a chunk as the reactor reads it to the kernel.
//!
//! `cargo bench --bench output` prints MB/s. One run compares like with like; numbers of two machines do not.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use procq_core::output::{ConsoleConfig, Flow, Interest, Output, StreamId};
use procq_core::proto::messages::{Log, LogFormat, Stream};
use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags};

const CHUNK: usize = 64 * 1024;
const TOTAL: usize = 1024 * 1024 * 1024;

fn lines() -> Vec<u8> {
    let line = [b"x".repeat(79), b"\n".to_vec()].concat();
    // Not a multiple of a line: chunks begin and end within lines, as reads of a pipe do.
    line.iter().copied().cycle().take(CHUNK).collect()
}

struct Bench {
    output: Output,
    bell: OwnedFd,
}

impl Bench {
    fn new(console: impl Into<OwnedFd>, prefix: bool) -> Self {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd");
        let config = ConsoleConfig { fd: console.into(), prefix, colour: true, width: 12, raw: false, most: None };
        Bench { output: Output::start(config, bell.try_clone().expect("a duplicate")).expect("a writer"), bell }
    }

    fn feed(&mut self, ids: &[StreamId], total: usize) {
        let chunk = lines();
        for &id in ids.iter().cycle().take(total / CHUNK) {
            while !self.output.may_read(id) {
                let _ = poll(&mut [PollFd::new(&self.bell, PollFlags::IN)], None);
                let _ = rustix::io::read(&self.bell, &mut [0_u8; 8]);
                self.output.take_resumable(Instant::now());
            }
            let _: Flow = self.output.ingest(id, Stream::Stdout, 1, &chunk);
        }
        assert!(self.output.flush(Instant::now() + Duration::from_secs(120)), "not written in time");
    }
}

fn report(what: &str, total: usize, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    println!("{what:44} {:8.0} MB/s", total as f64 / seconds / 1e6);
}

fn null() -> File {
    File::options().write(true).open("/dev/null").expect("a null device")
}

fn closed_pipe() -> OwnedFd {
    rustix::pipe::pipe().expect("a pipe").1
}

fn files(directory: &Path, writers: usize) {
    let mut bench = Bench::new(closed_pipe(), true);
    let path = |number: usize| directory.join(format!("{number}.log"));
    let ids: Vec<StreamId> = (0..writers)
        .map(|number| bench.output.open(&format!("w.{number}"), 1, Some(&Log::at(&path(number))), None))
        .collect();
    bench.feed(&ids[..1], CHUNK);
    let began = Instant::now();
    bench.feed(&ids, TOTAL);
    report(&format!("plain into {writers} file(s), nobody at the console"), TOTAL, began);
    ids.into_iter().for_each(|id| bench.output.close(id));
    let counters = bench.output.stop(Instant::now() + Duration::from_secs(10));
    assert_eq!((counters.logged, counters.log_dropped), ((TOTAL + CHUNK) as u64, 0));
    (0..writers).for_each(|number| std::fs::remove_file(path(number)).expect("removed"));
}

fn formatted(directory: &Path, format: LogFormat) {
    let path = directory.join("formatted.log");
    let mut bench = Bench::new(closed_pipe(), true);
    let id = bench.output.open("emails.1", 1, Some(&Log { format, ..Log::at(&path) }), None);
    let began = Instant::now();
    bench.feed(&[id], TOTAL / 4);
    report(&format!("a file of format {format:?}"), TOTAL / 4, began);
    std::fs::remove_file(&path).expect("removed");
}

fn rotated(directory: &Path, keep: u32) {
    let directory = directory.join(format!("keep-{keep}"));
    let mut bench = Bench::new(closed_pipe(), true);
    let log = Log { rotate: Some(64 * 1024), keep, ..Log::at(&directory.join("w.log")) };
    let id = bench.output.open("w.1", 1, Some(&log), None);
    let began = Instant::now();
    bench.feed(&[id], TOTAL / 8);
    report(&format!("plain, files of 64 KiB of which {keep} stay"), TOTAL / 8, began);
    std::fs::remove_dir_all(&directory).expect("removed");
}

/// What the kernel does when nothing else is in the way.
fn floor(directory: &Path) {
    let path = directory.join("floor");
    let mut file = File::options().append(true).create(true).open(&path).expect("created");
    let data = lines().repeat(4);
    let began = Instant::now();
    (0..TOTAL / data.len()).for_each(|_| file.write_all(&data).expect("written"));
    report("write(2) into a file, nothing else", TOTAL, began);
    std::fs::remove_file(&path).expect("removed");
}

/// Proportional set size of this process, in KiB.
fn memory() -> usize {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux");
    let line = text.lines().find(|line| line.starts_with("Pss:")).expect("a size");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

fn idle_workers() {
    const WORKERS: usize = 1_000;
    let mut bench = Bench::new(closed_pipe(), true);
    let before = memory();
    for number in 0..WORKERS {
        let id = bench.output.open(&format!("worker.{number}"), 1, None, None);
        for _ in 0..10 {
            let _ = bench.output.ingest(id, Stream::Stdout, 1, &lines()[..80]);
        }
    }
    let each = (memory() - before) as f64 / WORKERS as f64;
    println!("{:44} {each:8.1} KiB", "memory of an idle worker after ten lines");
}

fn after_a_flood(directory: &Path) {
    let before = memory();
    let path = directory.join("flood.log");
    let mut bench = Bench::new(null(), true);
    let id = bench.output.open("w.1", 1, Some(&Log::at(&path)), None);
    bench.feed(&[id], TOTAL / 4);
    let busy = memory() - before;
    // The writer gives its buffers back after a second without work.
    std::thread::sleep(Duration::from_millis(1_500));
    let idle = memory().saturating_sub(before);
    println!("{:44} {busy:8} KiB, {idle} KiB a second later", "memory after 256 MiB to a file and a console");
    std::fs::remove_file(&path).expect("removed");
}

fn console_file(directory: &Path) {
    let path = directory.join("console");
    let mut bench = Bench::new(File::create(&path).expect("created"), true);
    let id = bench.output.open("emails.1", 1, None, None);
    let began = Instant::now();
    bench.feed(&[id], TOTAL / 2);
    report("prefixed into a file", TOTAL / 2, began);
    std::fs::remove_file(&path).expect("removed");
}

fn console_null() {
    let mut bench = Bench::new(null(), true);
    let id = bench.output.open("emails.1", 1, None, None);
    let began = Instant::now();
    bench.feed(&[id], TOTAL);
    report("prefixed into /dev/null (formatting alone)", TOTAL, began);
}

fn console_pipe() {
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    let mut reader = File::from(reader);
    let mut bench = Bench::new(writer, true);
    let reading = std::thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        while reader.read(&mut buffer).expect("readable") > 0 {}
    });
    let id = bench.output.open("emails.1", 1, None, None);
    let began = Instant::now();
    bench.feed(&[id], TOTAL / 2);
    let counters = bench.output.stop(Instant::now() + Duration::from_secs(10));
    let seconds = began.elapsed().as_secs_f64();
    let rate = counters.shown as f64 / seconds / 1e6;
    let dropped = 100.0 * counters.console_dropped as f64 / counters.received as f64;
    println!("{:44} {rate:8.0} MB/s ({dropped:.0} % offered beyond that and dropped)", "prefixed into a pipe");
    reading.join().expect("read to the end");
}

fn reactor_alone() {
    let mut bench = Bench::new(closed_pipe(), true);
    let id = bench.output.open("w.1", 1, None, None);
    bench.feed(&[id], 16 * CHUNK);
    let began = Instant::now();
    bench.feed(&[id], TOTAL);
    report("framing and ring alone", TOTAL, began);
    let _reader = bench.output.subscribe(Interest { follow: true, ..Interest::default() });
    let began = Instant::now();
    bench.feed(&[id], TOTAL);
    report("framing, ring and a reader that stopped", TOTAL, began);
}

fn main() {
    let directory: PathBuf = std::env::temp_dir().join(format!("procq-bench-output-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    // As the keeper does.
    procq_core::sys::return_large_buffers();
    idle_workers();
    after_a_flood(&directory);
    reactor_alone();
    // Twice: whoever is first fills a cold page cache.
    floor(&directory);
    floor(&directory);
    files(&directory, 1);
    files(&directory, 8);
    formatted(&directory, LogFormat::Prefixed);
    formatted(&directory, LogFormat::Json);
    rotated(&directory, 5);
    rotated(&directory, 50);
    console_null();
    console_file(&directory);
    console_pipe();
    std::fs::remove_dir_all(&directory).expect("removed");
}
