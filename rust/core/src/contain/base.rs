//! The control groups of T2.
//!
//! ```text
//! the group procq was started in
//! └─ procq-NAME-INSTANCE      the base, made and removed by us
//!    ├─ keeper                sentinel, keeper, control plane: only a group without members of its own can hand controllers down
//!    ├─ w1                    a group a worker's generation
//!    └─ w2 …
//! ```

use super::delegation::is_delegated;
use crate::sys;
use crate::sys::cgroup::Cgroup;
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, Instant};

const LEAF: &str = "keeper";
const PREFIX: &str = "procq-";
/// Controllers that a worker's limits need.
const WANTED: [&str; 2] = ["memory", "pids"];
/// Another procq that clears away empty groups may take a base before anybody has moved in.
const TRIES: u32 = 5;
/// For what has been killed to end, before its group is left behind.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why no control groups can be made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// No cgroup v2 is mounted.
    Absent,
    /// The one that is mounted does not show our group.
    OutOfReach,
    /// It is mounted read-only.
    ReadOnly,
    /// It belongs to somebody else.
    NotOurs,
    /// It belongs to systemd, which has not delegated it.
    NotDelegated,
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Lack::Absent => "there is no cgroup v2 here",
            Lack::OutOfReach => "the cgroup v2 that is mounted here does not show the group of this process",
            Lack::ReadOnly => "cgroup v2 is mounted read-only",
            Lack::NotOurs => "the control group of this process belongs to somebody else",
            Lack::NotDelegated => "the control group of this process belongs to systemd, which has not delegated it",
        })
    }
}

impl Lack {
    /// A word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Lack::Absent => "absent",
            Lack::OutOfReach => "out_of_reach",
            Lack::ReadOnly => "read_only",
            Lack::NotOurs => "not_ours",
            Lack::NotDelegated => "not_delegated",
        }
    }
}

/// Where control groups could be made, and what stands in the way.
#[derive(Clone, Debug)]
pub struct Place {
    /// The group of this process.
    pub own: Option<Cgroup>,
    /// Why none can be made in it.
    pub lack: Option<Lack>,
}

impl Place {
    /// Looks, and changes nothing.
    pub fn find() -> Place {
        match Cgroup::own() {
            Ok(own) => Place { lack: lack_of(&own), own: Some(own) },
            Err(error) if error.kind() == ErrorKind::Unsupported => Place { own: None, lack: Some(Lack::OutOfReach) },
            Err(_) => Place { own: None, lack: Some(Lack::Absent) },
        }
    }

    /// Controllers that workers' groups could have.
    pub fn controllers(&self) -> Vec<String> {
        let offered = self.own.as_ref().map(Cgroup::controllers).unwrap_or_default();
        offered.into_iter().filter(|name| WANTED.contains(&name.as_str())).collect()
    }
}

fn lack_of(own: &Cgroup) -> Option<Lack> {
    match own.check_writable() {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => return Some(Lack::ReadOnly),
        Err(_) => return Some(Lack::NotOurs),
    }
    let systemd = Path::new("/run/systemd/system").is_dir();
    let free = !systemd || own.name() == "/" || is_delegated(own);
    (!free).then_some(Lack::NotDelegated)
}

/// The groups of one procq.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    own: Cgroup,
    base: Cgroup,
}

impl Base {
    /// Makes the base and moves this process into its leaf, and `launcher` too: a process that waits for us to become ready and leaves then.
    pub fn establish(place: &Place, name: &str, instance: u64, launcher: Option<i32>) -> io::Result<Base> {
        let own = place.own.clone().ok_or(ErrorKind::NotFound)?;
        clear_away(&own);
        let base = move_in(&own, &format!("{PREFIX}{name}-{instance:x}"))?;
        if let Some(launcher) = launcher {
            // Without controllers where it may not be moved.
            let _ = base.child(LEAF).enter(launcher);
        }
        // Controllers that cannot be handed down are done without: other members of the group we were started in are in the way.
        for name in place.controllers() {
            let _ = own.enable(&name).and_then(|()| base.enable(&name));
        }
        Ok(Base { own, base })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.base.path()
    }

    /// What tells it from every other group since the machine was started.
    pub fn id(&self) -> io::Result<u64> {
        self.base.id()
    }

    /// Controllers that workers' groups have.
    pub fn controllers(&self) -> Vec<String> {
        self.base.enabled()
    }

    /// Makes the group of a generation.
    pub fn make(&self, generation: u64) -> io::Result<Cgroup> {
        self.base.make(&format!("w{generation}"))
    }

    /// The generation in whose group a process is.
    pub fn generation_of(&self, pid: i32) -> Option<u64> {
        let below = self.base.name_below(pid)?;
        below.split('/').next()?.strip_prefix('w')?.parse().ok()
    }

    fn workers(&self) -> Vec<Cgroup> {
        self.base.children().into_iter().filter(|group| !group.name().ends_with(LEAF)).collect()
    }

    /// SIGKILL to everything that workers have left.
    pub fn kill(&self) {
        self.workers().iter().for_each(Cgroup::kill);
    }

    /// Once we are the last: ends what workers have left, and removes everything. What does not end in time stays.
    pub fn abandon(&self) {
        let begun = Instant::now();
        loop {
            self.kill();
            let left = self.workers().iter().filter(|group| group.remove().is_err()).count();
            if left == 0 || begun.elapsed() > PATIENCE {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.move_out();
        let _ = self.base.remove();
    }

    /// A group whose groups have controllers takes no members: they go first, unless another procq beside us uses them. The root takes all.
    fn move_out(&self) {
        if self.own.enter(0).is_ok() {
            return;
        }
        let alone = self.own.children().iter().all(|group| *group == self.base);
        if alone {
            for name in WANTED {
                let _ = self.base.disable(name);
                let _ = self.own.disable(name);
            }
            let _ = self.own.enter(0);
        }
    }
}

fn move_in(own: &Cgroup, name: &str) -> io::Result<Cgroup> {
    let mut tries = 0;
    loop {
        let moved = own.make(name).and_then(|base| {
            base.make(LEAF)?.enter(0)?;
            Ok(base)
        });
        match moved {
            Err(error) if error.kind() == ErrorKind::NotFound && tries < TRIES => tries += 1,
            Err(error) => {
                let _ = own.child(name).remove();
                return Err(error);
            }
            moved => return moved,
        }
    }
}

/// Removes what earlier lives, of whichever project, have left empty.
fn clear_away(own: &Cgroup) {
    for group in own.children().iter().filter(|group| is_base(group)) {
        if group.is_populated().is_ok_and(|populated| !populated) {
            let _ = group.remove();
        }
    }
}

fn is_base(group: &Cgroup) -> bool {
    group.path().file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX))
}

/// The process that waits for us to be ready, if our parent is one: it is to be moved along.
pub fn launcher() -> Option<i32> {
    Some(sys::parent_pid()).filter(|parent| *parent > 1)
}
