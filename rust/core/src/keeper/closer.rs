//! Closes what comes with messages to workers' sockets.
//!
//! Closing a descriptor may wait: for a socket that lingers, for a file system that does not answer. The thread that reaps must
//! not, and so another one closes. It is started when the first descriptor comes, which in most lives is never.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Sender};
use std::sync::Arc;

/// Descriptors of one that may wait to be closed.
const MOST: usize = 512;

/// How many descriptors wait that somebody has passed.
pub(super) type Waiting = Arc<AtomicUsize>;

/// Holds what is not closed yet.
#[derive(Default)]
pub(super) struct Closer {
    thread: Option<Sender<Passed>>,
    /// While there is no thread.
    kept: Vec<Passed>,
}

struct Passed {
    descriptor: OwnedFd,
    waiting: Waiting,
}

impl Closer {
    /// Closes these as soon as it can be done. False when too many wait that the same one has passed: they are closed all
    /// the same, but no more should be taken from him.
    pub fn close(&mut self, descriptors: Vec<OwnedFd>, waiting: &Waiting) -> bool {
        waiting.fetch_add(descriptors.len(), Ordering::Relaxed);
        self.kept.extend(descriptors.into_iter().map(|descriptor| Passed { descriptor, waiting: Arc::clone(waiting) }));
        if self.begin() {
            let Closer { thread, kept } = self;
            kept.drain(..).for_each(|passed| _ = thread.as_ref().map(|thread| thread.send(passed)));
        }
        waiting.load(Ordering::Relaxed) <= MOST
    }

    /// Lets the thread end once all is closed; the next descriptor starts another one.
    pub fn rest(&mut self) {
        self.thread = None;
    }

    /// Sees to it that there is a thread, if one can be had.
    fn begin(&mut self) -> bool {
        if self.thread.is_none() {
            let (sender, receiver) = channel::<Passed>();
            let run = move || {
                for Passed { descriptor, waiting } in receiver {
                    drop(descriptor);
                    waiting.fetch_sub(1, Ordering::Relaxed);
                }
            };
            let thread = std::thread::Builder::new().name("procq-closer".to_owned()).stack_size(64 * 1024);
            if thread.spawn(run).is_ok() {
                self.thread = Some(sender);
            }
        }
        self.thread.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    #[test]
    fn what_is_passed_is_closed() {
        let (mut closer, waiting) = (Closer::default(), Waiting::default());
        let (read, write) = sys::pipe().unwrap();
        assert!(closer.close(vec![write], &waiting));
        assert_eq!(sys::read(read.as_fd(), &mut [0]).unwrap(), 0, "a read that waits for the other end's closing");
        while waiting.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
    }

    /// A socket that lingers, with a peer that takes nothing: closing it waits as long as it says.
    fn lingering() -> (OwnedFd, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        while ours.write(&[0; 1 << 16]).is_ok() {}
        rustix::net::sockopt::set_socket_linger(&ours, Some(Duration::from_secs(2))).unwrap();
        ours.set_nonblocking(false).unwrap();
        (ours.into(), theirs)
    }

    #[test]
    fn a_descriptor_whose_closing_waits_keeps_nobody() {
        let mut closer = Closer::default();
        let (slow, _peer) = lingering();
        let (read, write) = sys::pipe().unwrap();
        let begun = Instant::now();
        assert!(closer.close(vec![slow, write], &Waiting::default()));
        let took = begun.elapsed();
        assert_eq!(sys::read(read.as_fd(), &mut [0]).unwrap(), 0);
        assert!(took < begun.elapsed() / 2, "handing over took as long as closing");
    }

    #[test]
    fn one_that_rests_closes_what_it_has_and_goes_on_with_what_comes() {
        let mut closer = Closer::default();
        for _ in 0..2 {
            let (read, write) = sys::pipe().unwrap();
            assert!(closer.close(vec![write], &Waiting::default()));
            closer.rest();
            assert_eq!(sys::read(read.as_fd(), &mut [0]).unwrap(), 0);
        }
    }

    #[test]
    fn too_many_that_wait_are_told_of_who_has_passed_them() {
        let mut closer = Closer::default();
        let (slow, _peer) = lingering();
        let null = sys::dev_null().unwrap();
        let many = (0..=MOST).map(|_| null.try_clone().unwrap());
        assert!(!closer.close([slow].into_iter().chain(many).collect(), &Waiting::default()));
        assert!(closer.close(vec![null], &Waiting::default()), "another one");
    }
}
