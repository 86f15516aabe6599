//! What workers use, measured from outside: one look at every process of the machine for any number of workers.

use super::process::{every, mark, stat, Stat, GENERATION_BITS};
use std::collections::{HashMap, HashSet};
use std::fs;

/// A worker to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its leader.
    pub pid: i32,
    /// Bytes of memory above which it matters how many of its pages are shared.
    pub limit: u64,
}

/// What a worker's whole tree uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Processor time since their start, in seconds.
    pub cpu: f64,
    /// Resident memory in bytes. Below the limit pages that several of them share count for each, above it each page
    /// counts in parts, one for each process that has it.
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
    let of = |root: &Root| table.of(root, escaped.get(&root.pid).map_or(&[], Vec::as_slice));
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

    fn of(&self, root: &Root, escaped: &[i32]) -> Usage {
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
        if total.memory > root.limit {
            let fair = members.iter().map(|pid| fair_share(*pid)).sum::<u64>();
            total.memory = total.memory.min(fair);
        }
        total
    }
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
    fn a_process_shares_what_it_has_mapped_with_itself_only_once() {
        let own = std::process::id() as i32;
        let fair = fair_share(own);
        assert!(fair > 0 && fair <= stat(own).unwrap().pages * rustix::param::page_size() as u64 * 2);
        assert!(own_pages(own) > 0);
        assert_eq!((fair_share(i32::MAX), own_pages(i32::MAX)), (0, 0), "gone is no trouble");
    }
}
