//! What the service manager is told by the keeper itself: signs of life, and that the end has begun. All else comes from the control plane.

use super::Keeper;
use crate::host::Config;
use crate::sentinel::Word;
use crate::service::LONGEST;
use crate::sys;
use std::os::fd::AsFd;

/// Beyond the last grace period: for control plane, strays and the last output, and for a loaded machine.
const MARGIN: u64 = 15_000_000_000;

/// What is known of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Service {
    /// There is one.
    told: bool,
    /// Nanoseconds after which it takes us for hung.
    watchdog: Option<u64>,
    next: u64,
}

impl Service {
    pub fn of(config: &Config) -> Service {
        let told = config.notify_socket.is_some();
        let watchdog = config.watchdog_usec.filter(|_| told).map(|microseconds| microseconds.saturating_mul(1_000));
        Service { told, watchdog, next: 0 }
    }

    /// When it has to hear of us again.
    pub fn next_timer(&self) -> Option<u64> {
        self.watchdog.map(|_| self.next)
    }
}

impl Keeper {
    /// What the control plane found out. Who is ready names the main process: where a shell stands in front, that is not the first one.
    pub(super) fn tell_state(&mut self, state: &str) {
        if state.starts_with("READY=1") {
            self.tell_service_manager(&format!("MAINPID={}\n{state}", self.sentinel_pid));
        } else {
            self.tell_service_manager(state);
        }
    }

    /// Has the sentinel send `state`, lines as in sd_notify(3), to the service manager.
    pub(super) fn tell_service_manager(&mut self, state: &str) {
        if !self.service.told {
            return;
        }
        let mut message = vec![Word::Tell.byte()];
        message.extend(state.bytes().take(LONGEST));
        let _ = sys::send(self.sentinel.as_fd(), &message);
    }

    /// A sign of life, three in the time in which one is expected, while the control plane gives signs of life as well.
    pub(super) fn attend_watchdog(&mut self) {
        let Some(interval) = self.service.watchdog.filter(|_| self.now >= self.service.next) else { return };
        self.service.next = self.now.saturating_add(interval / 3);
        if self.shutdown.is_some() || self.control.answers(self.now) {
            self.tell_service_manager("WATCHDOG=1");
        }
    }

    /// The manager is told how long the end may take: what a unit says of that may be older than the manifest.
    pub(super) fn tell_of_the_end(&mut self, reason: &str) {
        let microseconds = (self.end_of_all().saturating_sub(self.now) + MARGIN) / 1_000;
        let reason = reason.lines().next().unwrap_or_default();
        self.tell_service_manager(&format!("STOPPING=1\nSTATUS={reason}\nEXTEND_TIMEOUT_USEC={microseconds}"));
    }
}
