//! Control groups, version 2: made, entered, watched, emptied, removed.
//!
//! Paths and not descriptors, because a group outlives most of what is done with it, and no name is ever used twice.

use super::child::Child;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether groups are killed by walking, as on kernels before 5.14; for tests of the fallback.
static WALK: AtomicBool = AtomicBool::new(false);

/// One group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    path: PathBuf,
    /// As `/proc/PID/cgroup` calls it.
    name: String,
}

impl Cgroup {
    /// The group of this process, where the hierarchy is mounted.
    ///
    /// # Errors
    /// `NotFound`: there is no cgroup v2 here. `Unsupported`: what is mounted does not reach our group.
    pub fn own() -> io::Result<Cgroup> {
        let name = name_of("self").ok_or(ErrorKind::NotFound)?;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        // What is mounted last is on top.
        let mut found = mounts.lines().rev().filter_map(cgroup2_mount).peekable();
        found.peek().ok_or(ErrorKind::NotFound)?;
        let reached = found.find_map(|(root, point)| {
            let below = Path::new(&name).strip_prefix(&root).ok()?;
            let group = Cgroup { path: point.join(below), name: name.clone() };
            group.procs().is_ok_and(|pids| pids.contains(&super::super::own_pid())).then_some(group)
        });
        reached.ok_or_else(|| ErrorKind::Unsupported.into())
    }

    /// A group found by its path; of what it is called nothing is known, so that no process is taken for a member.
    pub fn at(path: &Path) -> Cgroup {
        Cgroup { path: path.to_owned(), name: String::new() }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As `/proc/PID/cgroup` calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The group `name` in this one, whether it is there or not.
    pub fn child(&self, name: &str) -> Cgroup {
        Cgroup { path: self.path.join(name), name: format!("{}/{name}", self.name.trim_end_matches('/')) }
    }

    /// Makes the group `name` in this one.
    pub fn make(&self, name: &str) -> io::Result<Cgroup> {
        let child = self.child(name);
        rustix::fs::mkdir(&child.path, Mode::from_raw_mode(0o755))?;
        Ok(child)
    }

    /// What tells it from every other group since the machine was started.
    pub fn id(&self) -> io::Result<u64> {
        Ok(std::fs::symlink_metadata(&self.path)?.ino())
    }

    /// Who owns it.
    pub fn owner(&self) -> io::Result<u32> {
        Ok(std::fs::symlink_metadata(&self.path)?.uid())
    }

    /// Whether groups can be made in it, and processes moved.
    ///
    /// # Errors
    /// `ReadOnlyFilesystem`, or another where we may not.
    pub fn check_writable(&self) -> io::Result<()> {
        use rustix::fs::{access, Access};
        let files = ["cgroup.procs", "cgroup.subtree_control"].map(|file| self.path.join(file));
        for path in files.iter().chain([&self.path]) {
            access(path, Access::WRITE_OK)?;
        }
        Ok(())
    }

    /// Whether systemd has marked it as delegated: of its two marks the latter can be read by root alone.
    pub fn is_marked_delegated(&self) -> bool {
        ["user.delegate", "trusted.delegate"].iter().any(|name| {
            let mut value = [0; 8];
            rustix::fs::getxattr(&self.path, *name, &mut value).is_ok_and(|n| value.get(..n) == Some(b"1".as_slice()))
        })
    }

    /// For a child to be born in.
    pub fn open(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(rustix::fs::open(&self.path, flags, Mode::empty())?)
    }

    /// Turns exceptional ([`super::Interest::Priority`]) when the group has become empty, or not empty any more; see [`is_populated`].
    pub fn events(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(self.path.join("cgroup.events"), flags, Mode::empty())?)
    }

    /// Moves a process in here, with all its threads; 0 is this one.
    pub fn enter(&self, pid: i32) -> io::Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Processes of this group and those below it; the ended ones are not among them.
    pub fn members(&self) -> Vec<i32> {
        let below = self.children().iter().flat_map(Cgroup::members).collect::<Vec<_>>();
        self.procs().unwrap_or_default().into_iter().chain(below).collect()
    }

    /// Whether a process is a member, here or below.
    pub fn has(&self, pid: i32) -> bool {
        self.name_below(pid).is_some()
    }

    /// How the group of a member is called seen from here; empty for this one.
    pub fn name_below(&self, pid: i32) -> Option<String> {
        let name = name_of(pid).filter(|_| !self.name.is_empty())?;
        let below = Path::new(&name).strip_prefix(&self.name).ok()?;
        below.to_str().map(str::to_owned)
    }

    /// Whether anything lives here or below; no where the group is gone.
    pub fn is_populated(&self) -> io::Result<bool> {
        match self.events() {
            Ok(events) => is_populated(rustix::fd::AsFd::as_fd(&events)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// SIGKILL to everything here and below, frozen or not. What is born meanwhile may need another one.
    pub fn kill(&self) {
        let told = match WALK.load(Ordering::Relaxed) {
            true => Err(ErrorKind::NotFound.into()),
            false => self.write("cgroup.kill", "1"),
        };
        if told.is_err() {
            self.kill_by_walk();
        }
    }

    /// For kernels before 5.14. Frozen, nobody forks; SIGKILL reaches the frozen as well.
    fn kill_by_walk(&self) {
        let _ = self.write("cgroup.freeze", "1");
        for process in self.hold(&self.members()) {
            process.signal(libc::SIGKILL);
        }
        let _ = self.write("cgroup.freeze", "0");
    }

    /// Those of them that are members, each held by its pidfd and looked at once more after that: a number may have changed hands.
    pub fn hold(&self, pids: &[i32]) -> Vec<Child> {
        pids.iter().filter_map(|pid| Child::open(*pid).ok()).filter(|child| self.has(child.pid())).collect()
    }

    /// Lets go of what somebody has frozen here or below.
    pub fn thaw(&self) {
        if self.read("cgroup.freeze").is_ok_and(|text| text.trim() == "1") {
            let _ = self.write("cgroup.freeze", "0");
        }
        self.children().iter().for_each(Cgroup::thaw);
    }

    /// Removes it, and what was made below it. Fails while anything lives there; a group that is gone already is no failure.
    pub fn remove(&self) -> io::Result<()> {
        loop {
            match std::fs::remove_dir(&self.path) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => {
                    let below = self.children();
                    if below.is_empty() {
                        return Err(error);
                    }
                    below.iter().try_for_each(Cgroup::remove)?;
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    /// The groups directly below it.
    pub fn children(&self) -> Vec<Cgroup> {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        directories.filter_map(|entry| Some(self.child(entry.file_name().to_str()?))).collect()
    }

    /// The group that this one is in; none for the topmost one that can be seen.
    pub fn parent(&self) -> Option<Cgroup> {
        let (name, _) = self.name.rsplit_once('/').filter(|_| self.name != "/")?;
        let path = self.path.parent()?.to_owned();
        let parent = Cgroup { path, name: if name.is_empty() { "/".to_owned() } else { name.to_owned() } };
        parent.path.join("cgroup.procs").exists().then_some(parent)
    }

    /// Controllers that can be enabled for the groups in this one.
    pub fn controllers(&self) -> Vec<String> {
        self.words("cgroup.controllers")
    }

    /// Controllers that the groups in this one have.
    pub fn enabled(&self) -> Vec<String> {
        self.words("cgroup.subtree_control")
    }

    /// Enables a controller for the groups in this one. `ResourceBusy`: it has members of its own.
    pub fn enable(&self, controller: &str) -> io::Result<()> {
        self.write("cgroup.subtree_control", &format!("+{controller}"))
    }

    /// The opposite.
    pub fn disable(&self, controller: &str) -> io::Result<()> {
        self.write("cgroup.subtree_control", &format!("-{controller}"))
    }

    /// What a file of the group says.
    pub fn read(&self, file: &str) -> io::Result<String> {
        std::fs::read_to_string(self.path.join(file))
    }

    /// Tells the kernel something through a file of the group.
    pub fn write(&self, file: &str, text: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(self.path.join(file), flags, Mode::empty())?;
        rustix::io::write(&file, text.as_bytes())?;
        Ok(())
    }

    /// Forgets that this kernel can kill a group, as an older one would: for tests of the fallback.
    pub fn pretend_no_kill(yes: bool) {
        WALK.store(yes, Ordering::Relaxed);
    }

    fn procs(&self) -> io::Result<Vec<i32>> {
        Ok(self.read("cgroup.procs")?.lines().filter_map(|line| line.parse().ok()).collect())
    }

    fn words(&self, file: &str) -> Vec<String> {
        self.read(file).unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect()
    }
}

/// What [`Cgroup::events`] says now. Reading it lets the next change be heard of.
pub fn is_populated(events: BorrowedFd<'_>) -> io::Result<bool> {
    let mut text = [0; 256];
    match rustix::io::pread(events, &mut text, 0) {
        Ok(n) => Ok(text[..n].split(|byte| *byte == b'\n').any(|line| line == b"populated 1")),
        // The group has been removed.
        Err(rustix::io::Errno::NODEV) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn name_of(process: impl std::fmt::Display) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// What of the hierarchy is mounted there, and where, if the line of mountinfo is about one.
fn cgroup2_mount(line: &str) -> Option<(PathBuf, PathBuf)> {
    let (mount, kind) = line.split_once(" - ")?;
    let fields: Vec<&str> = mount.split(' ').collect();
    let is_ours = kind.split(' ').next() == Some("cgroup2");
    let path = |index: usize| fields.get(index).map(|field| PathBuf::from(unescaped(field)));
    is_ours.then_some((path(3)?, path(4)?))
}

/// mountinfo writes blanks and backslashes in octal.
fn unescaped(field: &str) -> String {
    ["\\040 ", "\\011\t", "\\012\n", "\\134\\"].iter().fold(field.to_owned(), |text, pair| {
        let (code, meant) = pair.split_at(4);
        text.replace(code, meant)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_with_the_part_of_the_hierarchy_that_it_shows() {
        let line = "41 31 0:38 /docker/a /sys/fs/cgroup/a\\040b rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(cgroup2_mount(line), Some(("/docker/a".into(), "/sys/fs/cgroup/a b".into())));
        assert_eq!(cgroup2_mount("35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"), None);
        assert_eq!(cgroup2_mount("nonsense"), None);
    }

    #[test]
    fn names_follow_paths() {
        let root = Cgroup { path: "/sys/fs/cgroup".into(), name: "/".into() };
        let inner = root.child("a").child("b");
        assert_eq!((inner.path(), inner.name()), (Path::new("/sys/fs/cgroup/a/b"), "/a/b"));
        assert_eq!(root.parent(), None);
    }

    #[test]
    fn a_group_known_by_its_path_alone_has_no_members() {
        assert!(!Cgroup::at(Path::new("/")).has(std::process::id() as i32));
    }

    /// On kernels that can kill a group as well as on those that cannot, frozen or not.
    #[test]
    fn faults_9_everything_in_a_group_ends_with_and_without_the_kernel_s_help() {
        use super::super::{Exit, Image, Spawner};
        use std::os::fd::AsFd;
        let Some(own) = Cgroup::own().ok().filter(|own| own.check_writable().is_ok()) else {
            eprintln!("SKIPPED: needs a control group that may be written");
            return;
        };
        super::super::block_all();
        super::super::become_subreaper().unwrap();
        for (old_kernel, frozen) in [(true, false), (true, true), (false, false), (false, true)] {
            let group = own.make(&format!("procq-kill-test-{}", std::process::id())).unwrap();
            let script = "trap '' TERM; (setsid sh -c 'trap \"\" TERM; sleep 1001' &); sleep 1002 & sleep 1003";
            let image = Image {
                argv: ["sh", "-c", script].map(|word| std::ffi::CString::new(word).unwrap()).to_vec(),
                env: vec![c"PATH=/usr/bin:/bin".to_owned()],
                cgroup: Some(group.open().unwrap()),
                ..Image::default()
            };
            let null = crate::sys::dev_null().unwrap();
            let (leader, starting) =
                Spawner::default().spawn(image, [null.as_fd(), null.as_fd(), null.as_fd()], &[]).unwrap();
            std::mem::forget(starting);
            while group.members().len() < 5 {
                std::thread::yield_now();
            }
            let members = group.hold(&group.members());
            assert!(members.iter().all(|member| group.has(member.pid())));
            if frozen {
                group.write("cgroup.freeze", "1").unwrap();
            }
            WALK.store(old_kernel, Ordering::Relaxed);
            group.kill();
            WALK.store(false, Ordering::Relaxed);
            assert_eq!(leader.wait().unwrap(), Exit::Signal(libc::SIGKILL), "old kernel: {old_kernel}");
            while !members.iter().all(Child::has_ended) || group.is_populated().unwrap() {
                std::thread::yield_now();
            }
            group.remove().unwrap();
            assert!(!group.path().exists());
        }
    }
}
