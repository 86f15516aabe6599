//! What workers use, measured from outside: one look at every process of the machine for any number of workers.

use super::cgroup::Cgroup;
use super::process::{every, mark, stat, Stat, GENERATION_BITS};
use std::collections::{HashMap, HashSet};
use std::fs;

/// No limit that anybody looks at.
pub const UNLIMITED: u64 = u64::MAX;

/// A worker to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its leader.
    pub pid: i32,
    /// Bytes of memory above which it matters how many of its pages are shared; [`UNLIMITED`]: it does not matter how exact.
    pub limit: u64,
}

/// What a worker's whole tree uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Processor time since their start, in seconds.
    pub cpu: f64,
    /// Memory in bytes. Of a worker with a limit and a control group that counts it: what the kernel could not take back at
    /// once. Else what is resident: below the limit pages that several of them share count for each, above it in parts, one for each
    /// process that has them.
    pub memory: u64,
    /// How many processes they are; 0 when the leader is gone.
    pub processes: u32,
    /// How many threads these have together.
    pub threads: u64,
}

/// What each of these workers uses, with what has left its tree and is the keeper's child now: that still carries the worker's mark.
/// Takes about 10 µs a process of the machine: not for the reactor.
pub fn usage(roots: &[Root]) -> Vec<Usage> {
    let table = Table::read();
    let escaped = table.escaped(roots);
    let limited = roots.iter().any(|root| root.limit != UNLIMITED);
    let base = limited.then(|| Cgroup::own().ok()?.parent()).flatten();
    let of = |root: &Root| {
        let group = base.as_ref().filter(|_| root.limit != UNLIMITED).and_then(|base| group_of(base, root.pid));
        table.of(root, escaped.get(&root.pid).map_or(&[], Vec::as_slice), group.as_ref())
    };
    roots.iter().map(of).collect()
}

/// Every process of the machine, at about the same time.
struct Table {
    processes: HashMap<i32, Stat>,
    children: HashMap<i32, Vec<i32>>,
}

impl Table {
    fn read() -> Table {
        let mut table = Table { processes: HashMap::new(), children: HashMap::new() };
        for (pid, stat) in every().into_iter().flatten().filter_map(|pid| Some((pid, stat(pid)?))) {
            table.children.entry(stat.parent).or_default().push(pid);
            table.processes.insert(pid, stat);
        }
        table
    }

    fn below(&self, pid: i32) -> impl Iterator<Item = i32> + '_ {
        self.children.get(&pid).into_iter().flatten().copied()
    }

    /// Processes beside the leaders that carry the mark of one of them, by that leader.
    fn escaped(&self, roots: &[Root]) -> HashMap<i32, Vec<i32>> {
        let leaders: HashSet<i32> = roots.iter().map(|root| root.pid).collect();
        let keepers: HashSet<i32> =
            roots.iter().filter_map(|root| Some(self.processes.get(&root.pid)?.parent)).collect();
        let others = keepers.iter().flat_map(|keeper| self.below(*keeper)).filter(|pid| !leaders.contains(pid));
        let strangers: Vec<(i32, u64)> = others.filter_map(|pid| Some((pid, of_worker(mark(pid)?)?))).collect();
        if strangers.is_empty() {
            return HashMap::new();
        }
        let owners: HashMap<u64, i32> =
            roots.iter().filter_map(|root| Some((of_worker(mark(root.pid)?)?, root.pid))).collect();
        let mut found: HashMap<i32, Vec<i32>> = HashMap::new();
        for (pid, mark) in strangers {
            if let Some(leader) = owners.get(&mark) {
                found.entry(*leader).or_default().push(pid);
            }
        }
        found
    }

    fn of(&self, root: &Root, escaped: &[i32], group: Option<&Cgroup>) -> Usage {
        if !self.processes.contains_key(&root.pid) {
            return Usage::default();
        }
        let (per_second, page) = (rustix::param::clock_ticks_per_second() as f64, rustix::param::page_size() as u64);
        let (mut total, mut members) = (Usage::default(), Vec::new());
        let mut open = [&[root.pid], escaped].concat();
        while let Some(pid) = open.pop() {
            let Some(stat) = self.processes.get(&pid) else { continue };
            total.cpu += stat.ticks as f64 / per_second;
            total.memory += stat.pages * page;
            total.processes += 1;
            total.threads += stat.threads;
            members.push(pid);
            open.extend(self.below(pid));
        }
        // Its group also knows of those that have ended without being waited for.
        total.cpu = group.and_then(seconds).unwrap_or(total.cpu);
        if let Some(memory) = group.and_then(working_set) {
            total.memory = memory;
        } else if total.memory > root.limit {
            let fair = members.iter().map(|pid| fair_share(*pid)).sum::<u64>();
            total.memory = total.memory.min(fair);
        }
        total
    }
}

/// The control group of a worker, in the one above that of this process.
fn group_of(base: &Cgroup, pid: i32) -> Option<Cgroup> {
    let below = base.name_below(pid)?;
    let name = below.split('/').find(|part| !part.is_empty())?;
    let generation = name.strip_prefix('w')?;
    let is_one = !generation.is_empty() && generation.bytes().all(|byte| byte.is_ascii_digit());
    is_one.then(|| base.child(name))
}

fn seconds(group: &Cgroup) -> Option<f64> {
    Some(counted(group, "cpu.stat", "usage_usec ")? as f64 / 1e6)
}

/// All that is charged to a group, without the file pages that nobody has used lately: those the kernel takes back before it kills.
fn working_set(group: &Cgroup) -> Option<u64> {
    let all = fs::read_to_string(group.path().join("memory.current")).ok()?.trim().parse::<u64>().ok()?;
    Some(all.saturating_sub(counted(group, "memory.stat", "inactive_file ").unwrap_or(0)))
}

fn counted(group: &Cgroup, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(group.path().join(file)).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// A mark that a worker's tree carries: a control plane has one too, without a generation, and an unlimited process none.
fn of_worker(mark: u64) -> Option<u64> {
    (mark & ((1 << GENERATION_BITS) - 1) != 0).then_some(mark)
}

/// Bytes of memory of one process, of each page only its part. Where that may not be looked at, its own pages alone: what is shared is
/// then nobody's fault. 0 when it is gone.
fn fair_share(pid: i32) -> u64 {
    let kilobytes = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    });
    kilobytes.map_or_else(|| own_pages(pid) * rustix::param::page_size() as u64, |kilobytes| kilobytes * 1024)
}

fn own_pages(pid: i32) -> u64 {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/statm")) else { return 0 };
    let numbers: Vec<u64> = text.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [_, resident, shared, ..] => resident.saturating_sub(shared),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_tells_processor_time_and_the_memory_that_cannot_be_taken_back() {
        let folder = std::env::temp_dir().join(format!("procq-usage-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let group = Cgroup::at(&folder);
        assert_eq!((seconds(&group), working_set(&group)), (None, None), "not counted here");
        fs::write(folder.join("cpu.stat"), "usage_usec 2500000\nuser_usec 1\n").unwrap();
        fs::write(folder.join("memory.current"), "1000000\n").unwrap();
        assert_eq!((seconds(&group), working_set(&group)), (Some(2.5), Some(1_000_000)));
        fs::write(folder.join("memory.stat"), "anon 5\ninactive_file 300000\nactive_file 7\n").unwrap();
        assert_eq!(working_set(&group), Some(700_000));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_process_shares_what_it_has_mapped_with_itself_only_once() {
        let own = std::process::id() as i32;
        let fair = fair_share(own);
        assert!(fair > 0 && fair <= stat(own).unwrap().pages * rustix::param::page_size() as u64 * 2);
        assert!(own_pages(own) > 0);
        assert_eq!((fair_share(i32::MAX), own_pages(i32::MAX)), (0, 0), "gone is no trouble");
    }
}
