//! Asking workers to leave, and making them.

use super::groups::Group;
use super::Keeper;
use crate::proto::messages::{Configure, Event, Phase, StopTo};
use crate::sys::{process, Child};
use std::cmp::Reverse;
use std::collections::HashSet;

/// Nanoseconds between two looks at a tree that has had SIGKILL and is not empty; twice as long each time that nobody new is found.
pub(super) const FIRST_PAUSE: u64 = 20_000_000;
const LONGEST_PAUSE: u64 = 1_000_000_000;
/// Trees killed before others get their turn: each is a walk through `/proc`.
const AT_ONCE: usize = 256;

impl Keeper {
    /// Sends the stop signal to the leader, or to its group, and sets the time of SIGKILL. A second request can only bring that time forward.
    pub(super) fn stop(&mut self, generation: u64, signal: Option<i32>, grace: Option<u64>) {
        let now = self.now;
        // The latest news: whether its command runs decides how it is asked.
        self.exec_reported(generation);
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        let grace = grace.unwrap_or(worker.stop.grace);
        let deadline = now.saturating_add(grace.saturating_mul(1_000_000));
        let deadline = worker.deadline.map_or(deadline, |former| former.min(deadline));
        match worker.phase {
            Phase::Gone => return,
            Phase::Starting | Phase::Running => {
                worker.phase = Phase::Stopping;
                worker.asked = true;
                worker.group.iter().for_each(Group::thaw);
                // Before exec it shares our memory, and kernels before 5.16 end all who share the memory of a process that
                // dumps core, as SIGQUIT and others would have it do. SIGTERM never does.
                let before_exec = worker.starting.is_some().then_some(libc::SIGTERM);
                let signal = before_exec.or(signal).unwrap_or(worker.stop.signal);
                worker.group_asked = grace > 0 && worker.stop.to == StopTo::Group && worker.leads_a_group();
                match &worker.leader {
                    Some(leader) if worker.group_asked => ask_group(leader, signal),
                    Some(leader) if grace > 0 => ask(leader, signal),
                    _ => {}
                }
            }
            Phase::Stopping | Phase::Draining if worker.deadline == Some(deadline) => return,
            Phase::Stopping | Phase::Draining => {}
        }
        worker.deadline = Some(deadline);
        worker.latest = Some(deadline.saturating_add(grace.saturating_mul(1_000_000)));
        let id = worker.id.clone();
        self.look_at(generation, deadline);
        self.tell(generation, &Event::Stopping { worker: id, generation, deadline, at: now });
    }

    /// SIGKILL comes then. An earlier appointment of this worker is void.
    pub(super) fn look_at(&mut self, generation: u64, at: u64) {
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        worker.look = Some(at);
        self.timers.push(Reverse((at, generation)));
        // Void ones stay until their time comes, which may be far away.
        if self.timers.len() > 2 * self.workers.len() + 64 {
            let workers = &self.workers;
            let valid = |at, generation| workers.get(&generation).is_some_and(|worker| worker.look == Some(at));
            self.timers.retain(|&Reverse((at, generation))| valid(at, generation));
        }
    }

    /// What can change while a worker runs.
    pub(super) fn configure(&mut self, told: Configure) {
        let Some(worker) = self.workers.get_mut(&told.generation) else { return };
        (worker.stop, worker.wave) = (told.stop, told.wave);
        // While everything is stopped that may be the turn of another wave.
        self.progress = true;
        worker.group.iter().for_each(|group| group.limit_again(told.memory, told.pids));
        if let Some(output) = worker.output {
            self.output.configure(output, told.log.as_ref());
        }
        self.expect_readiness(told.generation, told.ready, told.ready_line.as_deref());
    }

    /// Runs the deadlines that have come; a great many in several turns.
    pub(super) fn run_timers(&mut self) {
        let mut due = Vec::new();
        while let Some(&Reverse((at, generation))) = self.timers.peek() {
            if at > self.now || due.len() == AT_ONCE {
                break;
            }
            self.timers.pop();
            if self.workers.get(&generation).is_some_and(|worker| worker.look == Some(at)) {
                due.push(generation);
            }
        }
        if due.is_empty() {
            return;
        }
        self.adopt_orphans();
        let orphans = self.orphans_by_worker();
        for generation in due {
            self.kill_tree(generation, orphans.get(&generation).map_or(&[], Vec::as_slice));
        }
        self.unsettled = true;
        // While everything is stopped: what does not end even so holds up the next wave for a while only.
        self.progress = true;
    }

    /// When the next deadline comes.
    pub(super) fn next_timer(&self) -> Option<u64> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// SIGKILL to everything that belongs to this generation. What is born meanwhile falls to the next look.
    fn kill_tree(&mut self, generation: u64, orphans: &[i32]) {
        let Some(worker) = self.workers.get(&generation) else { return };
        let orphans = orphans.iter().filter_map(|pid| self.orphans.get(pid)).map(|orphan| &orphan.child);
        let mut killed: Vec<i32> = worker.group.as_ref().map(Group::kill).unwrap_or_default();
        // The others have left their group, or have none.
        let killed_already: HashSet<i32> = killed.iter().copied().collect();
        let roots = worker.leader.iter().chain(orphans).filter(|root| !killed_already.contains(&root.pid()));
        for root in roots {
            // Counted before the first signal: who has ended by then has not needed one.
            let tree = process::tree(root.pid());
            killed.extend(tree.iter().filter(|pid| process::stat(**pid).is_some_and(|stat| stat.state != 'Z')));
            let below = hold(root.pid(), &tree[1..]);
            if worker.leads_a_group() && Some(root.pid()) == worker.leader.as_ref().map(Child::pid) {
                root.signal_group(libc::SIGKILL);
            }
            for process in below.iter().chain([root]) {
                process.signal(libc::SIGKILL);
            }
        }
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        let before = worker.killed.len();
        worker.killed.extend(killed);
        let first = !std::mem::replace(&mut worker.doomed, true);
        worker.pause = if worker.killed.len() > before { FIRST_PAUSE } else { (worker.pause * 2).min(LONGEST_PAUSE) };
        let next = self.now + worker.pause;
        self.look_at(generation, next);
        if first {
            self.expect_end(generation);
        }
    }
}

/// The signal, then CONT, so that a stopped process hears it.
pub(super) fn ask(process: &Child, signal: i32) {
    process.signal(signal);
    process.signal(libc::SIGCONT);
}

/// The same for everybody in the group that this unreaped child of ours leads.
fn ask_group(leader: &Child, signal: i32) {
    if leader.signal_group(signal) {
        leader.signal_group(libc::SIGCONT);
        return;
    }
    // An older kernel. Members are among its descendants, and among those of them whose parents have gone: children of ours.
    let in_group = |pid: i32| process::stat(pid).is_some_and(|stat| stat.group == leader.pid());
    let orphans = process::own_children().unwrap_or_default().into_iter().filter(|pid| in_group(*pid));
    let roots = orphans.filter(|pid| *pid != leader.pid()).chain([leader.pid()]);
    // Looked at once more when held: a number may have changed hands. The leader's cannot, and so the group is the one that was meant.
    let held: Vec<Child> = roots
        .flat_map(process::tree)
        .filter_map(|pid| Child::open(pid).ok())
        .filter(|member| in_group(member.pid()))
        .collect();
    held.iter().for_each(|member| ask(member, signal));
}

/// TERM and CONT to a process and everything below it, but for the members of a group that has been asked already.
pub(super) fn ask_tree(root: &Child, asked: Option<i32>) {
    let below = hold(root.pid(), &process::tree(root.pid())[1..]);
    let heard = |pid: i32| asked.is_some() && process::stat(pid).map(|stat| stat.group) == asked;
    for process in below.iter().chain([root]).filter(|process| !heard(process.pid())) {
        ask(process, libc::SIGTERM);
    }
}

/// SIGKILL to a process and everything below it.
pub(super) fn kill_with_all_below(root: &Child) {
    let below = hold(root.pid(), &process::tree(root.pid())[1..]);
    below.iter().chain([root]).for_each(|process| {
        process.signal(libc::SIGKILL);
    });
}

/// What was found below an unreaped child of ours, each held by its pidfd. A number may have changed hands between
/// the walk and the hold, so the ancestry is checked once more after it. For more than there are descriptors: as many as possible.
fn hold(root: i32, found: &[i32]) -> Vec<Child> {
    found.iter().filter_map(|pid| Child::open(*pid).ok()).filter(|child| descends_from(child.pid(), root)).collect()
}

pub(super) fn descends_from(pid: i32, root: i32) -> bool {
    const DEEPEST: usize = 256;
    let parents = std::iter::successors(Some(pid), |pid| process::stat(*pid).map(|stat| stat.parent));
    parents.take(DEEPEST).skip(1).take_while(|pid| *pid > 1).any(|pid| pid == root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{self, Exit, Image, Spawner};
    use std::os::fd::AsFd;

    /// A leader, a member of its group, one whose parent has gone, and one that has left the group; by what they sleep for.
    fn company() -> (Child, impl Fn(&str) -> i32) {
        sys::block_all();
        sys::become_subreaper().unwrap();
        let script = "sleep 1001 & (sleep 1002 &) ; setsid sleep 1003 & wait";
        let argv = ["sh", "-c", script].map(|word| std::ffi::CString::new(word).unwrap()).to_vec();
        let null = sys::dev_null().unwrap();
        let image = Image { argv, env: vec![c"PATH=/usr/bin:/bin".to_owned()], ..Image::default() };
        let streams = [null.as_fd(), null.as_fd(), null.as_fd()];
        let (leader, starting) = Spawner::default().spawn(image, streams, &[]).unwrap();
        // It is read by nobody: what the child needs until exec stays.
        std::mem::forget(starting);
        let root = leader.pid();
        let find = move |seconds: &str| loop {
            let all = process::own_children().unwrap().into_iter().flat_map(process::tree).chain(process::tree(root));
            let command = |pid: i32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let wanted = format!("sleep\0{seconds}\0").into_bytes();
            let found = all.into_iter().find(|pid| command(*pid) == wanted);
            if let Some(pid) = found {
                return pid;
            }
            std::thread::yield_now();
        };
        (leader, find)
    }

    #[test]
    fn faults_2_a_group_is_asked_with_and_without_the_kernel_s_help() {
        for old_kernel in [true, false] {
            let (leader, find) = company();
            let members = ["1001", "1002"].map(|seconds| Child::open(find(seconds)).unwrap());
            let another = Child::open(find("1003")).unwrap();
            Child::pretend_no_group_signals(old_kernel);
            ask_group(&leader, libc::SIGTERM);
            Child::pretend_no_group_signals(false);
            assert_eq!(leader.wait().unwrap(), Exit::Signal(libc::SIGTERM), "old kernel: {old_kernel}");
            for member in &members {
                assert_eq!(member.wait().unwrap(), Exit::Signal(libc::SIGTERM), "old kernel: {old_kernel}");
            }
            assert!(!another.has_ended(), "it has left the group");
            another.signal(libc::SIGKILL);
            another.wait().unwrap();
        }
    }
}
