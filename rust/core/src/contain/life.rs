//! What an earlier life of the same project has left behind, and its end.
//!
//! When sentinel and keeper are killed in the same instant, nobody is left to end what leaders have started. A file in the run directory
//! says how their trees can be told: a line a life, written before its first worker, removed when everything has ended. Whoever
//! starts next holds the project's lock, so nobody of those lives is there any more.
//!
//! A process is ended for its control group, which has the recorded id, or for its mark, which is inherited only by being born there.
//! A cookie alone is no proof, since environments are copied: that is told, and left alone.

use crate::sys::cgroup::Cgroup;
use crate::sys::{self, process, Child};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FILE: &str = "life";
const VERSION: &str = "1";
/// Lives that are remembered: more than that were never ended.
const MOST: usize = 32;
/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(3);
/// For what has been killed to end.
const PATIENCE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(10);

/// One life, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    boot: String,
    instance: u64,
    /// When it began, in clock ticks since the machine was started: nothing of it is older.
    began: u64,
    /// Its control groups, and their id.
    base: Option<(PathBuf, u64)>,
}

/// What became of the earlier lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Processes that were ended.
    pub ended: usize,
    /// Those of them that needed SIGKILL.
    pub killed: usize,
    /// Processes with the cookie alone.
    pub spared: usize,
    /// Processes that are there still.
    pub left: usize,
}

impl Life {
    /// Ours, about to begin.
    pub fn own(instance: u64, base: Option<&super::Base>) -> io::Result<Life> {
        let base = base.map(|base| Ok::<_, io::Error>((base.path().to_owned(), base.id()?))).transpose()?;
        let began = process::stat(sys::own_pid()).map_or(0, |stat| stat.started);
        Ok(Life { boot: boot()?, instance, began, base })
    }

    fn line(&self) -> String {
        let (path, id) = self.base.as_ref().map_or(("", 0), |(path, id)| (path.to_str().unwrap_or(""), *id));
        format!("{VERSION} {} {:x} {} {id} {path}", self.boot, self.instance, self.began)
    }

    fn parse(line: &str) -> Option<Life> {
        let mut fields = line.splitn(6, ' ');
        let mut next = || fields.next();
        next().filter(|version| *version == VERSION)?;
        let boot = next()?.to_owned();
        let instance = u64::from_str_radix(next()?, 16).ok()?;
        let (began, id) = (next()?.parse().ok()?, next()?.parse().ok()?);
        let base = next().filter(|path| path.starts_with('/')).map(|path| (PathBuf::from(path), id));
        Some(Life { boot, instance, began, base })
    }

    fn group(&self) -> Option<Cgroup> {
        let (path, id) = self.base.as_ref()?;
        let group = Cgroup::at(path);
        group.id().is_ok_and(|found| found == *id).then_some(group)
    }

    fn has_marked(&self, pid: i32) -> bool {
        let is_ours = crate::keeper::instance_of(pid) == Some(self.instance);
        is_ours && process::stat(pid).is_some_and(|stat| stat.started >= self.began && stat.state != 'Z')
    }

    fn has_given_cookie(&self, pid: i32) -> bool {
        process::variable(pid, "PROCQ_INSTANCE").is_some_and(|value| value == format!("{:x}", self.instance))
    }

    /// Everything that belongs to it, each held by its pidfd and looked at again after that.
    fn remains(&self, spared: &HashSet<i32>) -> Vec<Child> {
        let group = self.group();
        let members = || -> HashSet<i32> { group.iter().flat_map(Cgroup::members).collect() };
        let found = process::every().into_iter().flatten().filter(|pid| self.has_marked(*pid)).chain(members());
        let found: HashSet<i32> = found.filter(|pid| !spared.contains(pid)).collect();
        let held: Vec<Child> = found.into_iter().filter_map(|pid| Child::open(pid).ok()).collect();
        let members = members();
        held.into_iter().filter(|child| self.has_marked(child.pid()) || members.contains(&child.pid())).collect()
    }
}

/// Ends what the earlier lives in `directory` have left, and forgets them; those of whom something is left are kept in mind.
pub fn sweep(directory: &Path) -> Swept {
    let mut swept = Swept::default();
    let Ok(boot) = boot() else { return swept };
    let Ok(text) = std::fs::read_to_string(directory.join(FILE)) else { return swept };
    let lives: Vec<Life> = text.lines().take(MOST).filter_map(Life::parse).filter(|life| life.boot == boot).collect();
    if lives.is_empty() {
        return swept;
    }
    let spared = kin();
    let remains = || lives.iter().flat_map(|life| life.remains(&spared)).collect::<Vec<_>>();
    let asked = remains();
    for process in &asked {
        process.signal(libc::SIGTERM);
        process.signal(libc::SIGCONT);
    }
    lives.iter().filter_map(Life::group).for_each(|group| group.thaw());
    wait(GRACE, || asked.iter().all(Child::has_ended));
    let mut ended: HashSet<i32> = asked.iter().map(Child::pid).collect();
    let mut killed = HashSet::new();
    wait(PATIENCE, || {
        let left = remains();
        for process in &left {
            process.signal(libc::SIGKILL);
            killed.insert(process.pid());
        }
        left.is_empty()
    });
    ended.extend(&killed);
    lives.iter().filter_map(Life::group).for_each(|group| {
        let _ = group.remove();
    });
    let cookie = |pid: &i32| !spared.contains(pid) && lives.iter().any(|life| life.has_given_cookie(*pid));
    let left = remains().len();
    (swept.ended, swept.killed, swept.left) = (ended.len(), killed.len(), left);
    swept.spared = process::every().into_iter().flatten().filter(cookie).count().saturating_sub(left);
    if left == 0 {
        forget(directory);
    }
    swept
}

/// Writes down that this life begins, below those of whom something is left.
pub fn remember(directory: &Path, life: &Life) -> io::Result<()> {
    let mut text = std::fs::read_to_string(directory.join(FILE)).unwrap_or_default();
    let lines = text.lines().count();
    if lines >= MOST {
        text = text.lines().skip(lines + 1 - MOST).fold(String::new(), |text, line| text + line + "\n");
    }
    let _ = writeln!(text, "{}", life.line());
    let draft = directory.join("life.new");
    let _ = std::fs::remove_file(&draft);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?.write_all(text.as_bytes())?;
    std::fs::rename(draft, directory.join(FILE))
}

/// Nothing of any life is left.
pub fn forget(directory: &Path) {
    let _ = std::fs::remove_file(directory.join(FILE));
}

/// We, and those who have started us: a worker of an earlier life may have.
fn kin() -> HashSet<i32> {
    const DEEPEST: usize = 256;
    let parents = std::iter::successors(Some(sys::own_pid()), |pid| process::stat(*pid).map(|stat| stat.parent));
    parents.take(DEEPEST).take_while(|pid| *pid > 0).collect()
}

fn boot() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn wait(most: Duration, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() && begun.elapsed() < most {
        std::thread::sleep(STEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let base = Some((PathBuf::from("/sys/fs/cgroup/a b/procq-x-1f"), 77));
        for base in [base, None] {
            let life = Life { boot: "b-1".into(), instance: 0x2f, began: 5, base };
            assert_eq!(Life::parse(&life.line()), Some(life));
        }
        for spoilt in ["", "1", "2 b 1f 5 0 ", "1 b xyz 5 0 ", "1 b 1f", "1 b 1f 5 x /", "\0\0"] {
            assert_eq!(Life::parse(spoilt), None, "{spoilt:?}");
        }
    }

    #[test]
    fn a_group_that_was_made_anew_is_another() {
        let life = Life { boot: String::new(), instance: 1, began: 0, base: Some(("/tmp".into(), 1)) };
        assert_eq!(life.group(), None);
    }
}
