//! An image of a keeper that is this very program, in flavours of which one only is any good; and its control plane.

use crate::stage::{patiently, Part};
use procq_core::host::{self, Config};
use procq_core::image;
use procq_core::keeper::Saved;
use procq_core::proto::messages::{Command, Event, Order, Reply, Request, Spawn, StopPolicy};
use procq_core::proto::Channel;
use procq_core::sys::{self, process};
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Plays an image or a control plane, if the command line says so: their environment is the keeper's.
pub fn play() {
    let mut words = std::env::args_os().skip(1);
    match words.next().as_deref().map(OsStrExt::as_bytes) {
        Some(b"image") => {
            let flavour = words.next().unwrap_or_default();
            image::again_with(words.collect(), move |saved| meddle(&flavour, saved))
        }
        Some(b"control") => control(words.any(|word| word.as_bytes().starts_with(b"--probe-fd"))),
        _ => {}
    }
    if std::env::var("PART").as_deref() == Ok("project") {
        project();
    }
}

/// What is wrong with this flavour when it is to take over; on a trial it is as good as any.
fn meddle(flavour: &OsString, saved: &mut Saved) {
    match flavour.as_bytes() {
        b"panics" => panic!("planted"),
        // Half of what was inherited has been taken by the time that this is noticed.
        b"stumbles" => _ = saved.descriptors.remove(0),
        b"counts-twice" => saved.descriptors.extend_from_within(..1),
        _ => {}
    }
}

/// Begins as `procq up` does.
fn project() -> ! {
    let directory = PathBuf::from(std::env::var_os("RUN_DIR").unwrap());
    let order = order("good");
    host::run(Config {
        lock: Some(directory.join("lock")),
        keeper_socket: Some(directory.join("keeper.sock")),
        api_socket: Some(directory.join("api.sock")),
        run_dir: Some(directory),
        release: "0".into(),
        image: order.command,
        files: order.files,
        control: order.control,
        ..Config::default()
    })
}

/// Starts one worker, and nothing else, as long as there is a keeper.
fn control(trial: bool) -> ! {
    if trial {
        sys::leave(0);
    }
    let mut link = Channel::new(sys::adopt_fd(3).unwrap()).unwrap();
    link.push(&Command::Hello { oldest: 1, newest: 1 }).unwrap();
    let poller = sys::Poller::new().unwrap();
    poller.add(link.as_fd(), 0, sys::Interest::Read).unwrap();
    let mut ready = Vec::new();
    loop {
        link.flush().unwrap();
        poller.wait(&mut ready, None).unwrap();
        ready.clear();
        link.fill(1 << 20).unwrap();
        loop {
            match link.receive::<Event>() {
                Ok(Some(Event::SnapshotEnd { last_generation: 0, .. })) => {
                    link.push(&Command::Spawn(Spawn {
                        worker: "w.1".into(),
                        generation: 1,
                        argv: ["sleep", "98765"].map(|word| word.as_bytes().to_vec().into()).to_vec(),
                        env: vec![b"PATH=/usr/bin:/bin".to_vec().into()],
                        stop: StopPolicy::default(),
                        ..Spawn::default()
                    }))
                    .unwrap();
                    link.push(&Command::Ready {}).unwrap();
                }
                Ok(Some(Event::SnapshotEnd { .. })) => link.push(&Command::Ready {}).unwrap(),
                Ok(Some(Event::Ping { n })) => link.push(&Command::Pong { n }).unwrap(),
                Ok(Some(Event::Retire {})) | Err(_) => sys::leave(0),
                Ok(Some(_)) => {}
                Ok(None) => break,
            }
        }
    }
}

/// To become this program in one of its flavours.
pub fn order(flavour: &str) -> Order {
    let program = std::env::current_exe().unwrap();
    let word = |word: &[u8]| word.to_vec().into();
    let program = program.as_os_str().as_bytes();
    Order {
        release: flavour.to_owned(),
        command: vec![word(program), word(b"image"), word(flavour.as_bytes())],
        files: vec![word(program)],
        control: vec![word(program), word(b"control")],
        who: "a scene".into(),
    }
}

/// A procq with one worker.
pub struct Project {
    part: Part,
    directory: PathBuf,
}

impl Project {
    pub fn start() -> Project {
        let directory = std::env::temp_dir().join(format!("procq-project-{}", std::process::id()));
        let part = Part::start("project", &[("RUN_DIR", directory.to_str().unwrap().to_owned())]);
        Project { part, directory }
    }

    fn ask(&self, request: &Request) -> Option<Reply> {
        let socket = std::os::unix::net::UnixStream::connect(self.directory.join("keeper.sock")).ok()?;
        let mut client = Channel::new(socket.into()).unwrap();
        client.push(request).unwrap();
        let mut reply = None;
        patiently("an answer", || {
            let _ = client.flush();
            client.fill(1 << 16).unwrap();
            reply = client.receive::<Reply>().unwrap_or_else(|error| panic!("no answer: {error}"));
            reply.is_some()
        });
        reply
    }

    pub fn upgrade(&self, flavour: &str) -> Reply {
        self.ask(&Request::Upgrade(order(flavour))).expect("a keeper")
    }

    /// The keeper, its version, and the worker that runs.
    pub fn look(&self) -> (i32, String, i32) {
        let mut found = None;
        patiently("a keeper with a control plane and a worker", || {
            let Some(Reply::Info { pid, release, control_plane: Some(control), running: 1, ready: true, .. }) =
                self.ask(&Request::Info {})
            else {
                return false;
            };
            let worker = process::children(pid).into_iter().find(|child| *child != control);
            found = worker.map(|worker| (pid, release, worker));
            found.is_some()
        });
        found.unwrap()
    }

    pub fn end(mut self) {
        let pid = self.part.pid();
        assert!(sys::Child::open(pid).unwrap().signal(libc::SIGTERM));
        patiently("its end", || self.part.has_left().is_some());
        assert_eq!(self.part.has_left(), Some(0));
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
