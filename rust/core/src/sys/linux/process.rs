//! Questions about processes, answered from `/proc`. "Gone" is an ordinary answer: between any two reads a process may end.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its name (`comm`).
    pub name: String,
    /// State letter: R, S, D, Z, T …
    pub state: char,
    /// Parent.
    pub parent: i32,
    /// Process group.
    pub group: i32,
    /// Session.
    pub session: i32,
    /// Processor time of all its threads, in clock ticks; of children only those that have been waited for.
    pub ticks: u64,
    /// How many threads it has.
    pub threads: u64,
    /// Resident memory, in pages.
    pub pages: u64,
    /// When it began, in clock ticks since the machine was started.
    pub started: u64,
}

/// Reads `/proc/PID/stat`; `None` when the process is gone.
pub fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let (open, close) = (text.find('(')?, text.rfind(')')?);
    let fields: Vec<&str> = text.get(close + 2..)?.split_ascii_whitespace().collect();
    // Numbered as in proc(5), whose third field is the first behind the name.
    let field = |number: usize| fields.get(number - 3);
    let number = |number: usize| field(number)?.parse::<u64>().ok();
    Some(Stat {
        name: text[open + 1..close].to_owned(),
        state: field(3)?.chars().next()?,
        parent: field(4)?.parse().ok()?,
        group: field(5)?.parse().ok()?,
        session: field(6)?.parse().ok()?,
        ticks: number(14)? + number(15)? + number(16)? + number(17)?,
        threads: number(20)?,
        pages: number(24)?,
        started: number(22)?,
    })
}

/// Where in the kernel a process waits, by the name of a function; `None` where it does not wait or may not be looked at.
pub fn wait_channel(pid: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/wchan")).ok().filter(|name| !name.is_empty() && name != "0")
}

/// Direct children of a process, of all its threads.
pub fn children(pid: i32) -> Vec<i32> {
    let mut found = Vec::new();
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return found };
    for thread in threads.flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(list) => found.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok())),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !has_children_files() => {
                return children_by_scan(pid).unwrap_or_default()
            }
            Err(_) => {}
        }
    }
    found
}

/// Our own direct children, adopted orphans included: only the first thread spawns, and orphans come to it too. None is missed,
/// because a child stays in the list until we reap it.
///
/// # Errors
/// No descriptor is left, or there is no `/proc`. That must not be taken for "no children".
pub fn own_children() -> io::Result<Vec<i32>> {
    let own = super::super::own_pid();
    match fs::read_to_string(format!("/proc/self/task/{own}/children")) {
        Ok(list) => Ok(list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Err(_) => children_by_scan(own),
    }
}

/// A process and everything below it that is still connected to it by parenthood, parents first.
pub fn tree(root: i32) -> Vec<i32> {
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        for child in children(found[next]) {
            if !found.contains(&child) {
                found.push(child);
            }
        }
        next += 1;
    }
    found
}

/// CONFIG_PROC_CHILDREN may be missing.
fn has_children_files() -> bool {
    Path::new("/proc/thread-self/children").exists()
}

fn children_by_scan(parent: i32) -> io::Result<Vec<i32>> {
    Ok(every()?.filter(|pid| stat(*pid).is_some_and(|s| s.parent == parent)).collect())
}

/// Every process of this namespace.
pub fn every() -> io::Result<impl Iterator<Item = i32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

/// Bits of a mark that carry the generation; the rest carry the keeper's instance.
pub const GENERATION_BITS: u32 = 33;

/// The soft RLIMIT_LOCKS that a worker's tree carries; `None` when the process is gone or carries none.
pub fn mark(pid: i32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max file locks"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The value of an environment variable as it was at exec; `None` when it is not there or may not be read.
pub fn variable(pid: i32, name: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let prefix = [name.as_bytes(), b"="].concat();
    let value = environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(&prefix[..]))?;
    String::from_utf8(value.to_vec()).ok()
}

/// Pipes and terminals that the process has open, as `/proc` names them; see [`output_of`].
pub fn outputs_held(pid: i32) -> HashSet<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_link(entry.path()).ok()).filter(|target| is_output(target)).collect()
}

/// How `/proc` names a pipe (either end) or the worker's end of a terminal.
pub fn output_of(fd: std::os::fd::BorrowedFd<'_>) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok().filter(|target| is_output(target))
}

fn is_output(target: &Path) -> bool {
    let target = target.as_os_str().as_encoded_bytes();
    target.starts_with(b"pipe:[") || target.starts_with(b"/dev/pts/")
}

/// One ended child of ours that nobody has reaped yet; it stays unreaped.
pub fn peek_ended_child() -> Option<i32> {
    ended_child(libc::WNOWAIT).ok().flatten()
}

/// Reaps one ended child, whoever it is: for the end of everything, and for children that nobody has taken hold of.
///
/// # Errors
/// There is no child at all, running or ended.
pub fn reap_any() -> io::Result<Option<i32>> {
    ended_child(0)
}

fn ended_child(keep: i32) -> io::Result<Option<i32>> {
    // libc, because rustix does not tell which child a status is of.
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the kernel fills `info`; zeroed, it says pid 0, which means none.
    let pid = unsafe {
        if libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), libc::WEXITED | libc::WNOHANG | keep) == -1 {
            return Err(io::Error::last_os_error());
        }
        info.assume_init().si_pid()
    };
    Ok((pid > 0).then_some(pid))
}
