//! The sentinel: the process that was started. It waits, passes signals on, and when the keeper is gone ends whatever is left.
//!
//! As the first process of a container it has a second duty: whatever loses its parent there becomes its child, and is reaped. Of these,
//! only what carries our mark is ended; it waits for nobody else, because the kernel ends them all when it leaves.
//!
//! It exists because orphans go past a dead subreaper's children to the next living one: that is us. Nothing else is done here, so
//! that there is nothing to upgrade and nothing to go wrong.

use crate::contain::{life, Base};
use crate::keeper::{end_all_children, end_children, instance_of};
use crate::service::{self, Manager};
use crate::sys::{self, process, Child, Exit, Interest, Poller, Ready, SignalSource};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What sentinel and keeper say to each other: a packet each, which begins with the word's byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// SIGINT: stop gracefully; the second time, at once.
    Interrupt,
    /// SIGTERM: stop gracefully.
    Terminate,
    /// SIGQUIT: stop at once.
    Quit,
    /// SIGHUP, and our terminal is gone: stop gracefully.
    HangUp,
    /// SIGHUP otherwise: look at the manifest again.
    Reload,
    /// SIGTSTP: keep the terminal still; the keeper answers with the same word when it does.
    Pause,
    /// SIGCONT: the terminal is ours again.
    Continue,
    /// From the keeper, with what the service manager is to be told behind it.
    Tell,
}

const WORDS: [(Word, u8); 8] = [
    (Word::Interrupt, b'I'),
    (Word::Terminate, b'T'),
    (Word::Quit, b'Q'),
    (Word::HangUp, b'H'),
    (Word::Reload, b'R'),
    (Word::Pause, b'P'),
    (Word::Continue, b'C'),
    (Word::Tell, b'N'),
];

impl Word {
    /// The byte that stands for it.
    pub fn byte(self) -> u8 {
        WORDS.iter().find(|(word, _)| *word == self).map_or(0, |(_, byte)| *byte)
    }

    /// The word that a byte stands for.
    pub fn from_byte(byte: u8) -> Option<Word> {
        WORDS.iter().find(|(_, known)| *known == byte).map(|(word, _)| *word)
    }
}

/// What the keeper calls itself.
pub const KEEPER: &str = "procq-keeper";

/// Read as data. All others are blocked, and mean nothing to us; that holds for the first process of a container too, to which the kernel
/// gives no default action.
const SIGNALS: [i32; 8] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGQUIT,
    libc::SIGHUP,
    libc::SIGPWR,
    libc::SIGTSTP,
    libc::SIGCONT,
    libc::SIGCHLD,
];

/// Waits for the keeper to end, then for everything else, then leaves with the keeper's code.
pub fn run(
    keeper: &Child,
    link: &OwnedFd,
    instance: u64,
    base: Option<&Base>,
    record: Option<&Path>,
    manager: Option<Manager>,
) -> ! {
    let exit = watch(keeper, link, manager).unwrap_or(Exit::Code(1));
    base.iter().for_each(|base| base.kill());
    if sys::own_pid() == 1 {
        end_children(None, |pid| instance_of(pid) == Some(instance));
    } else {
        end_all_children(None);
    }
    base.iter().for_each(|base| base.abandon());
    if let Exit::Signal(signal) = exit {
        // Nobody else is left to say it.
        let line = format!("procq: the keeper was ended by signal {signal}, and everything that it ran was killed\n");
        sys::write_if_ready(io::stderr().as_fd(), line.as_bytes());
    }
    record.iter().for_each(|directory| life::forget(directory));
    sys::leave(match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => 128 + signal,
    })
}

fn watch(keeper: &Child, link: &OwnedFd, mut manager: Option<Manager>) -> io::Result<Exit> {
    let signals = SignalSource::new(&SIGNALS)?;
    let had_terminal = sys::has_terminal();
    let poller = Poller::new()?;
    poller.add(keeper.as_fd(), 0, Interest::Read)?;
    poller.add(signals.as_fd(), 1, Interest::Read)?;
    poller.add(link.as_fd(), 2, Interest::Read)?;
    let mut ready = Vec::new();
    loop {
        let behind = manager.as_ref().is_some_and(Manager::is_behind);
        poller.wait(&mut ready, behind.then_some(service::TRY_AGAIN))?;
        manager.iter_mut().for_each(Manager::send);
        let news = |token: u64| ready.iter().any(|ready: &Ready| ready.token == token);
        if news(1) {
            pass_on(&signals, link, had_terminal, keeper);
        }
        // Before the keeper's end: what it said last is still to be passed on.
        if news(2) {
            hear(&poller, link, &mut manager);
        }
        if news(0) {
            return keeper.wait();
        }
        ready.clear();
    }
}

/// For an outer process that must not be a sentinel: waits for the inner one, and passes signals on as they are.
pub fn stand_by(inner: &Child) -> io::Result<Exit> {
    let signals = SignalSource::new(&SIGNALS)?;
    let poller = Poller::new()?;
    poller.add(inner.as_fd(), 0, Interest::Read)?;
    poller.add(signals.as_fd(), 1, Interest::Read)?;
    let mut ready = Vec::new();
    loop {
        poller.wait(&mut ready, None)?;
        if ready.drain(..).any(|ready| ready.token == 0) {
            let exit = inner.wait();
            wait_for_keeper();
            return exit;
        }
        while let Some(signal) = signals.next() {
            if signal == libc::SIGCHLD {
                reap_others(inner);
                continue;
            }
            inner.signal(signal);
            if signal == libc::SIGTSTP {
                sys::stop_self();
            }
        }
    }
}

/// Where the sentinel was killed, its keeper stops everything gracefully. When the first process of a container leaves, the kernel kills
/// the others: it has to stay for that.
fn wait_for_keeper() {
    const LOOK_AGAIN: u32 = 10_000_000;
    let is_keeper = |pid: &i32| process::stat(*pid).is_some_and(|stat| stat.name == KEEPER && stat.state != 'Z');
    while sys::own_pid() == 1 && process::own_children().is_ok_and(|children| children.iter().any(is_keeper)) {
        sys::wait_for_child(LOOK_AGAIN);
        while matches!(process::reap_any(), Ok(Some(_))) {}
    }
}

/// Children that we never started come to a subreaper, and to the first process of a container: nobody else will reap them.
fn reap_others(ours: &Child) {
    while let Some(pid) = process::peek_ended_child().filter(|pid| *pid != ours.pid()) {
        if Child::open(pid).and_then(|child| child.reap()).is_err() {
            return;
        }
    }
}

fn pass_on(signals: &SignalSource, link: &OwnedFd, had_terminal: bool, keeper: &Child) {
    while let Some(signal) = signals.next() {
        let word = match signal {
            libc::SIGCHLD => {
                reap_others(keeper);
                continue;
            }
            libc::SIGINT => Word::Interrupt,
            // Power failure is how LXC asks for the end.
            libc::SIGTERM | libc::SIGPWR => Word::Terminate,
            libc::SIGQUIT => Word::Quit,
            libc::SIGHUP if had_terminal && !sys::has_terminal() => Word::HangUp,
            libc::SIGHUP => Word::Reload,
            libc::SIGTSTP => Word::Pause,
            libc::SIGCONT => Word::Continue,
            _ => continue,
        };
        let _ = sys::send(link.as_fd(), &[word.byte()]);
    }
}

/// What the keeper says, packet by packet.
fn hear(poller: &Poller, link: &OwnedFd, manager: &mut Option<Manager>) {
    let mut packet = [0; 1 + service::LONGEST];
    loop {
        match sys::recv(link.as_fd(), &mut packet) {
            Ok(0) => return poller.remove(link.as_fd()),
            Ok(n) => match (Word::from_byte(packet[0]), manager.as_mut()) {
                // It holds the terminal still: now we may stop, as ^Z asked. What continues us is a signal like any other.
                (Some(Word::Pause), _) => sys::stop_self(),
                (Some(Word::Tell), Some(manager)) => manager.tell(&packet[1..n]),
                _ => {}
            },
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_a_byte_of_its_own() {
        assert!(WORDS.iter().all(|(word, _)| Word::from_byte(word.byte()) == Some(*word)));
        assert_eq!(Word::from_byte(0), None);
    }
}
