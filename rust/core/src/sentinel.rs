//! The sentinel: the process that was started. It waits, passes signals on, and when the keeper is gone ends whatever is left.
//!
//! It exists because orphans go past a dead subreaper's children to the next living one: that is us. Nothing else is done here, so
//! that there is nothing to upgrade and nothing to go wrong.

use crate::contain::Base;
use crate::keeper::end_all_children;
use crate::sys::{self, process, Child, Exit, Interest, Poller, Ready, SignalSource};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// What sentinel and keeper say to each other: a byte each.
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
}

const WORDS: [(Word, u8); 7] = [
    (Word::Interrupt, b'I'),
    (Word::Terminate, b'T'),
    (Word::Quit, b'Q'),
    (Word::HangUp, b'H'),
    (Word::Reload, b'R'),
    (Word::Pause, b'P'),
    (Word::Continue, b'C'),
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

const SIGNALS: [i32; 7] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGQUIT, libc::SIGHUP, libc::SIGTSTP, libc::SIGCONT, libc::SIGCHLD];

/// Waits for the keeper to end, then for everything else, then leaves with the keeper's code.
pub fn run(keeper: &Child, link: &OwnedFd, base: Option<&Base>) -> ! {
    let exit = watch(keeper, link).unwrap_or(Exit::Code(1));
    base.iter().for_each(|base| base.kill());
    end_all_children(None);
    base.iter().for_each(|base| base.abandon());
    sys::leave(match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => 128 + signal,
    })
}

fn watch(keeper: &Child, link: &OwnedFd) -> io::Result<Exit> {
    let signals = SignalSource::new(&SIGNALS)?;
    let had_terminal = sys::has_terminal();
    let poller = Poller::new()?;
    poller.add(keeper.as_fd(), 0, Interest::Read)?;
    poller.add(signals.as_fd(), 1, Interest::Read)?;
    poller.add(link.as_fd(), 2, Interest::Read)?;
    let mut ready = Vec::new();
    loop {
        poller.wait(&mut ready, None)?;
        for Ready { token, .. } in ready.drain(..) {
            match token {
                0 => return keeper.wait(),
                1 => pass_on(&signals, link, had_terminal, keeper),
                _ => hear(&poller, link),
            }
        }
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
            return inner.wait();
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
            libc::SIGTERM => Word::Terminate,
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

/// The keeper holds the terminal still: now we may stop, as ^Z asked. What continues us is a signal like any other.
fn hear(poller: &Poller, link: &OwnedFd) {
    let mut words = [0; 16];
    match sys::recv(link.as_fd(), &mut words) {
        Ok(0) => poller.remove(link.as_fd()),
        Ok(n) if words[..n].contains(&Word::Pause.byte()) => sys::stop_self(),
        Ok(_) | Err(_) => {}
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
