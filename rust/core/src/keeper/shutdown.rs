//! The end of everything: a latch, never taken back.

use super::stuck::STUCK;
use super::worker::Worker;
use super::Keeper;
use crate::contain::{life, Base};
use crate::proto::messages::{Event, Reply};
use crate::sys::{self, process, Child};
use std::collections::{BTreeMap, HashSet};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Nanoseconds that the control plane has to leave once no worker is left.
const CONTROL_GRACE: u64 = 1_000_000_000;
/// Nanoseconds between two SIGKILLs to a control plane that does not end.
const AGAIN: u64 = 100_000_000;
/// Nanoseconds for strays to end. What hangs in the kernel for longer is left to the sentinel.
const STRAYS: u64 = 2_000_000_000;
/// Nanoseconds for the owner, and for those who wait for the end, to take what is left to say.
const LAST_WORDS: u64 = 1_000_000_000;
/// For the last output to reach files and terminal.
const FLUSH: Duration = Duration::from_secs(2);

/// How everything is stopped; each hurries more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Haste {
    /// The highest wave first; when nothing of it is left but what cannot end, the next one, with its own grace periods.
    InOrder,
    /// All at once, each with its grace period.
    AtOnce,
    /// SIGKILL.
    Now,
}

impl Haste {
    /// What a person or the control plane means.
    pub fn of(fast: bool) -> Haste {
        if fast {
            Haste::Now
        } else {
            Haste::InOrder
        }
    }
}

pub(super) struct Shutdown {
    exit_code: i32,
    haste: Haste,
    /// The lowest wave that has been asked to leave.
    wave: Option<u32>,
    /// Set once no worker is left: when the control plane gets SIGKILL.
    control_deadline: Option<u64>,
    /// How many there were to stop.
    total: u32,
    /// Processes that had to be killed for it.
    pub killed: u32,
}

impl Keeper {
    /// Stops everything. A second call can only hurry.
    pub(super) fn shut_down(&mut self, reason: &str, haste: Haste, exit_code: i32) {
        match &mut self.shutdown {
            None => {
                let (total, wave) = (self.alive(), None);
                self.shutdown = Some(Shutdown { exit_code, haste, wave, control_deadline: None, total, killed: 0 });
                self.announce = None;
                self.abandon_upgrade("everything is being stopped");
                self.control.start_no_more();
                if total > 0 {
                    let seconds = (self.end_of_all() - self.now).div_ceil(1_000_000_000);
                    let workers = if total == 1 { "1 worker".to_owned() } else { format!("{total} workers") };
                    self.say(&format!("{reason}: stopping {workers}, up to {seconds} s"));
                }
            }
            Some(shutdown) if haste > shutdown.haste || haste == Haste::Now => shutdown.haste = haste,
            Some(_) => return,
        }
        self.end_probes(None);
        self.tell_of_the_end(reason);
        self.emit(&Event::ShuttingDown { reason: reason.to_owned(), fast: haste == Haste::Now });
        match haste {
            Haste::InOrder => self.stop_next_wave(),
            Haste::AtOnce | Haste::Now => self.stop_from(0, (haste == Haste::Now).then_some(0)),
        }
        self.progress = true;
    }

    /// Asks the highest wave of which something is left that can end, unless that has been done.
    fn stop_next_wave(&mut self) {
        let now = self.now;
        let Some(shutdown) = self.shutdown.as_mut().filter(|shutdown| shutdown.haste == Haste::InOrder) else { return };
        let left = self.workers.values().filter(|worker| can_end(worker, now));
        let highest = left.map(|worker| worker.wave).max();
        if let Some(wave) = highest.filter(|_| highest != shutdown.wave) {
            shutdown.wave = Some(wave);
            self.stop_from(wave, None);
        }
    }

    fn stop_from(&mut self, wave: u32, grace: Option<u64>) {
        let meant = self.workers.values().filter(|worker| worker.counts() && worker.wave >= wave);
        for generation in meant.map(|worker| worker.generation).collect::<Vec<_>>() {
            self.stop(generation, None, grace);
        }
    }

    /// When everything has ended at the latest: with waves, what is not asked yet begins where the one above has ended.
    pub(super) fn end_of_all(&self) -> u64 {
        let in_order = self.shutdown.as_ref().is_some_and(|shutdown| shutdown.haste == Haste::InOrder);
        // By wave: the latest deadline of those who have one, the longest grace period of those who have not.
        let mut waves: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for worker in self.workers.values().filter(|worker| worker.counts()) {
            let (deadline, grace) = waves.entry(if in_order { worker.wave } else { 0 }).or_default();
            match worker.deadline {
                Some(at) => *deadline = at.max(*deadline),
                None => *grace = worker.stop.grace.saturating_mul(1_000_000).max(*grace),
            }
        }
        let after = |end: u64, (deadline, grace): &(u64, u64)| end.saturating_add(*grace).max(*deadline);
        waves.values().rev().fold(self.now, after)
    }

    /// Workers of which something may still run.
    pub(super) fn alive(&self) -> u32 {
        self.workers.values().filter(|worker| worker.counts()).count() as u32
    }

    pub(super) fn any_alive(&self) -> bool {
        self.workers.values().any(|worker| worker.alive())
    }

    /// Whether there is something to wait for: what hangs in the kernel has its SIGKILL, and may keep it for hours.
    fn any_can_end(&self) -> bool {
        self.workers.values().any(|worker| can_end(worker, self.now))
    }

    /// Goes on with the next wave, and tells those who wait for the end how far it is, if that has changed.
    pub(super) fn report_progress(&mut self) {
        if !std::mem::take(&mut self.progress) || self.shutdown.is_none() {
            return;
        }
        self.stop_next_wave();
        let Some(shutdown) = &self.shutdown else { return };
        let deadline = self.end_of_all();
        let reply = Reply::Progress { alive: self.alive(), total: shutdown.total, deadline };
        self.tell_waiting(&reply);
    }

    /// Once no worker is left the control plane goes, then we do. True when it is time to leave.
    pub(super) fn shutdown_complete(&mut self) -> bool {
        if self.shutdown.is_none() || self.any_can_end() {
            return false;
        }
        if self.control.pid().is_none() {
            return true;
        }
        let now = self.now;
        let Some(shutdown) = &mut self.shutdown else { return false };
        match shutdown.control_deadline {
            None => {
                shutdown.control_deadline = Some(now + CONTROL_GRACE);
                self.control.ask();
            }
            Some(deadline) if now >= deadline => {
                shutdown.control_deadline = Some(now + AGAIN);
                self.control.end_now();
            }
            Some(_) => {}
        }
        false
    }

    /// When the end needs attention next: at once where it was only just asked for and there is nobody whose end could wake us.
    pub(super) fn shutdown_timer(&self) -> Option<u64> {
        let shutdown = self.shutdown.as_ref()?;
        shutdown.control_deadline.or_else(|| (!self.any_can_end()).then_some(0))
    }

    /// Ends what hid from every worker's tree, writes the last lines, answers those who wait, and is no more.
    pub(super) fn leave(mut self) -> ! {
        self.name_the_stuck();
        self.empty_groups.drain(..).for_each(|group| {
            let _ = group.remove();
        });
        let strays = end_all_children(Some(sys::monotonic() + STRAYS));
        let (exit_code, killed) =
            self.shutdown.as_ref().map_or((0, 0), |shutdown| (shutdown.exit_code, shutdown.killed));
        self.output.flush(Instant::now() + FLUSH);
        self.tell_waiting(&Reply::Stopped { killed: killed + strays });
        self.deliver_last_words();
        for path in [&self.config.keeper_socket, &self.config.api_socket].into_iter().flatten() {
            let _ = std::fs::remove_file(path);
        }
        // Else the sentinel does it.
        if matches!(sys::recv(self.sentinel.as_fd(), &mut [0; 64]), Ok(0)) {
            self.base.iter().for_each(Base::abandon);
            self.config.run_dir.iter().for_each(|directory| life::forget(directory));
        }
        sys::leave(exit_code)
    }

    /// What the owner and those who wait for the end have not taken yet dies with us: exits are among it.
    fn deliver_last_words(&mut self) {
        let until = sys::monotonic() + LAST_WORDS;
        loop {
            self.flush_clients();
            self.flush_link();
            let link_waits = self.link.as_ref().is_some_and(|link| link.channel.pending() > 0);
            if !link_waits && !self.anybody_waits() || sys::monotonic() >= until {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn can_end(worker: &Worker, now: u64) -> bool {
    worker.alive() && worker.deadline.is_none_or(|at| now < at.saturating_add(STUCK))
}

/// SIGKILL to every child, and to those that become ours by it, until there is none or the time is over: without one, until for a while
/// nobody has ended and nobody new was found, because what is left hangs in the kernel. Returns how many it took.
pub(crate) fn end_all_children(until: Option<u64>) -> u32 {
    end_children(until, |_| true)
}

/// The same for those that are `meant`; the others are left alone, and not waited for.
///
/// Holds one descriptor at a time: there may be more children than descriptors.
pub(crate) fn end_children(until: Option<u64>, meant: impl Fn(i32) -> bool) -> u32 {
    const LOOK_AGAIN: u32 = 10_000_000;
    let (mut killed, mut progress) = (HashSet::new(), sys::monotonic());
    loop {
        let before = killed.len();
        // Without a list of them they cannot be killed, but those that end are reaped all the same.
        let children = process::own_children();
        let ours: Vec<i32> = children.iter().flatten().copied().filter(|pid| meant(*pid)).collect();
        if children.is_ok() && ours.is_empty() {
            while matches!(process::reap_any(), Ok(Some(_))) {}
            return killed.len() as u32;
        }
        killed.extend(ours.into_iter().filter(|pid| kill_child(*pid)));
        loop {
            match process::reap_any() {
                Ok(Some(_)) => progress = sys::monotonic(),
                Ok(None) => break,
                Err(_) => return killed.len() as u32,
            }
        }
        let now = sys::monotonic();
        if killed.len() > before {
            progress = now;
        }
        if now >= until.unwrap_or(progress + STUCK) {
            return killed.len() as u32;
        }
        sys::wait_for_child(LOOK_AGAIN);
    }
}

/// False for one that has ended by itself. Nobody but us reaps it, so the number is its own.
fn kill_child(pid: i32) -> bool {
    Child::open(pid).is_ok_and(|child| !child.has_ended() && child.signal(libc::SIGKILL))
}
