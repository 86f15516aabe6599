//! The parts, and how to play against them: a hosted keeper whose owner we are.

use procq_core::host::{self, Config};
use procq_core::proto::messages::{Command, Event, Failure, Spawn, StopPolicy};
use procq_core::proto::Channel;
use procq_core::sys::{self, process, Child, Spawner};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);

/// Plays the part that the environment names, if it names one.
pub fn play() {
    match std::env::var("PART").as_deref() {
        Ok("host") => play_host(),
        Ok("sentinel") => play_sentinel(),
        _ => {}
    }
}

fn play_host() -> ! {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
    if let Some(limit) = number("DESCRIPTORS") {
        let limit = Some(limit as u64);
        rustix::process::setrlimit(
            rustix::process::Resource::Nofile,
            rustix::process::Rlimit { current: limit, maximum: limit },
        )
        .unwrap();
    }
    if number("WITH_CHILDREN").is_some() {
        let null = std::process::Stdio::null;
        let mut child = std::process::Command::new("sleep");
        child.arg("5").stdin(null()).stdout(null()).stderr(null());
        std::mem::forget(child.spawn().unwrap());
    }
    let directory = PathBuf::from(std::env::var_os("RUN_DIR").unwrap());
    host::run(Config {
        lock: Some(directory.join("lock")),
        keeper_socket: Some(directory.join("keeper.sock")),
        run_dir: Some(directory),
        owner_fd: number("OWNER"),
        ..Config::default()
    })
}

/// A sentinel whose keeper sleeps, and to which a child has come that it never started.
fn play_sentinel() -> ! {
    sys::block_all();
    sys::reset_dispositions();
    let text = |text: &str| CString::new(text).unwrap();
    let mut spawner = Spawner::default();
    let null = sys::dev_null().unwrap();
    let mut spawn = |argv: &[&str]| {
        let image = sys::Image {
            argv: argv.iter().map(|word| text(word)).collect(),
            env: vec![text("PATH=/usr/bin:/bin")],
            ..sys::Image::default()
        };
        let (child, starting) = spawner.spawn(image, [null.as_fd(), null.as_fd(), null.as_fd()], &[]).unwrap();
        std::mem::forget(starting);
        child
    };
    let keeper = spawn(&["sleep", "98765"]);
    drop(spawn(&["sleep", "0.1"]));
    let (link, _other) = sys::packet_pair().unwrap();
    procq_core::sentinel::run(&keeper, &link, 1, None, None, None)
}

/// This program again, in a process group of its own, as one of the parts. Whatever a scene that fails leaves of it is ended.
pub struct Part(std::process::Child);

impl Part {
    pub fn start(part: &str, environment: &[(&str, String)]) -> Part {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.env("PART", part).envs(environment.iter().map(|(name, value)| (name, value))).process_group(0);
        Part(command.spawn().unwrap())
    }

    pub fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    /// The exit code, or 128 and the signal; none while it runs.
    pub fn has_left(&mut self) -> Option<i32> {
        let status = self.0.try_wait().unwrap();
        status.map(|status| status.code().unwrap_or(128 + status.signal().unwrap_or(0)))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let tree: Vec<Child> = process::tree(self.pid()).into_iter().filter_map(|pid| Child::open(pid).ok()).collect();
        if self.has_left().is_none() {
            for process in &tree {
                process.signal(libc::SIGKILL);
            }
            let _ = self.0.wait();
        }
    }
}

/// Whether the process ignores this signal by now.
pub fn ignores(pid: i32, signal: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
    mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// That nothing happens shows only while time passes.
pub fn throughout(time: Duration, what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        assert!(holds(), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn patiently(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Surroundings of a keeper.
#[derive(Default)]
pub struct Setup {
    /// RLIMIT_NOFILE, soft and hard.
    pub descriptors: Option<u64>,
    /// The process has a child already when it is told to host.
    pub with_children: bool,
}

pub struct Hosted {
    part: Part,
    link: Channel,
    directory: PathBuf,
    keeper: i32,
}

impl Hosted {
    pub fn start(setup: Setup) -> Hosted {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("procq-host-{}-{count}", std::process::id()));
        let (ours, theirs): (OwnedFd, OwnedFd) = sys::socket_pair().unwrap();
        rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).unwrap();
        let mut environment =
            vec![("RUN_DIR", directory.to_str().unwrap().to_owned()), ("OWNER", theirs.as_raw_fd().to_string())];
        environment.extend(setup.descriptors.map(|limit| ("DESCRIPTORS", limit.to_string())));
        environment.extend(setup.with_children.then(|| ("WITH_CHILDREN", "1".to_owned())));
        let part = Part::start("host", &environment);
        drop(theirs);
        let mut hosted = Hosted { part, link: Channel::new(ours).unwrap(), directory, keeper: 0 };
        hosted.send(&Command::Hello { oldest: 1, newest: 1 });
        hosted.until(|event| matches!(event, Event::SnapshotEnd { .. }).then_some(()));
        let lock = std::fs::read_to_string(hosted.directory.join("lock")).unwrap();
        hosted.keeper = lock.trim().parse().unwrap();
        hosted
    }

    pub fn send(&mut self, command: &Command) {
        self.link.push(command).unwrap();
        patiently("room in the link", || self.link.flush().unwrap());
    }

    /// Reads events until one of them is what is looked for.
    pub fn until<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let mut found = None;
        patiently("an event", || {
            self.link.fill(1 << 20).unwrap();
            while found.is_none() {
                let Some(event) = self.link.receive::<Event>().unwrap() else { break };
                found = wanted(&event);
            }
            found.is_some()
        });
        found.unwrap()
    }

    /// Starts `sh -c script` as worker `w.GENERATION`, and returns its pid once exec has happened.
    pub fn try_spawn(&mut self, generation: u64, script: &str) -> Result<i32, Failure> {
        self.order(generation, script);
        self.until(|event| match event {
            Event::Executing { generation: found, pid, .. } if *found == generation => Some(Ok(*pid)),
            Event::SpawnFailed { generation: found, failure, .. } if *found == generation => Some(Err(failure.clone())),
            _ => None,
        })
    }

    /// Starts `sh -c script` without waiting for it.
    pub fn order(&mut self, generation: u64, script: &str) {
        self.send(&Command::Spawn(Spawn {
            worker: format!("w.{generation}"),
            generation,
            fingerprint: String::new(),
            argv: ["sh", "-c", script].map(|word| word.as_bytes().to_vec().into()).to_vec(),
            env: vec![b"PATH=/usr/bin:/bin".to_vec().into()],
            stop: StopPolicy { grace: 20_000, ..StopPolicy::default() },
            ..Spawn::default()
        }));
    }

    pub fn spawn_shell(&mut self, generation: u64, script: &str) -> i32 {
        self.try_spawn(generation, script).unwrap()
    }

    pub fn stop(&mut self, generation: u64, signal: Option<i32>, grace: u64) {
        self.send(&Command::Stop { worker: format!("w.{generation}"), generation, signal, grace: Some(grace) });
    }

    pub fn client(&self) -> Channel {
        self.try_client().unwrap()
    }

    pub fn try_client(&self) -> Option<Channel> {
        let socket = std::os::unix::net::UnixStream::connect(self.directory.join("keeper.sock")).ok()?;
        Channel::new(socket.into()).ok()
    }

    fn keeper_ticks(&self) -> u64 {
        process::stat(self.keeper).unwrap().ticks
    }

    pub fn workers_left(&self) -> usize {
        process::children(self.keeper).len()
    }

    /// That a keeper with nothing to do does nothing shows only while time passes.
    pub fn is_idle(&self) {
        let before = self.keeper_ticks();
        std::thread::sleep(SECOND);
        let used = self.keeper_ticks() - before;
        assert!(used < 20, "{used} ticks of a second with nothing to do");
    }

    pub fn kill_keeper(&self) {
        assert!(Child::open(self.keeper).unwrap().signal(libc::SIGKILL));
    }

    pub fn kill_outer(&mut self) {
        self.part.0.kill().unwrap();
        self.part.0.wait().unwrap();
    }

    /// As a terminal does it.
    pub fn signal_group(&self, signal: i32) {
        let group = rustix::process::Pid::from_raw(self.part.pid()).unwrap();
        let signal = rustix::process::Signal::from_named_raw(signal).unwrap();
        rustix::process::kill_process_group(group, signal).unwrap();
    }

    /// The exit code, once there is one.
    pub fn has_left(&mut self) -> Option<i32> {
        self.part.has_left()
    }

    pub fn end(mut self) {
        self.send(&Command::Shutdown { fast: true, exit_code: 7, reason: "the scene is over".into() });
        patiently("the keeper's end", || self.has_left().is_some());
        assert_eq!(self.has_left(), Some(7));
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Becomes the debugger of a process; false where that is forbidden.
pub fn seize(pid: i32) -> bool {
    // SAFETY: integers; the other process is a worker of this scene.
    unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) == 0 }
}

/// Waits for a process of which we are the debugger, which hands it back to its parent.
pub fn let_go(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
}
