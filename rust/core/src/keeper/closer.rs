//! Closes what workers pass to us.
//!
//! Closing a descriptor may wait: for a socket that lingers, for a file system that does not answer. The thread that reaps must
//! not, and so another one closes. It is started when the first descriptor comes, which in most lives is never.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Sender};
use std::sync::Arc;

/// Descriptors that may wait to be closed.
const MOST: usize = 512;

/// Holds what is not closed yet.
#[derive(Default)]
pub(super) struct Closer {
    thread: Option<Sender<OwnedFd>>,
    waiting: Arc<AtomicUsize>,
}

impl Closer {
    /// Closes these, at once or as soon as it can be done. False when too many wait already: they are closed all the same, but
    /// no more should be taken from who passes such things.
    pub fn close(&mut self, descriptors: Vec<OwnedFd>) -> bool {
        for descriptor in descriptors {
            let waiting = Arc::clone(&self.waiting);
            // Without a thread it is closed here and now.
            let Some(thread) = self.thread() else { continue };
            waiting.fetch_add(1, Ordering::Relaxed);
            let _ = thread.send(descriptor);
        }
        self.waiting.load(Ordering::Relaxed) <= MOST
    }

    /// Lets the thread end once all is closed; the next descriptor starts another one.
    pub fn rest(&mut self) {
        self.thread = None;
    }

    fn thread(&mut self) -> Option<&Sender<OwnedFd>> {
        if self.thread.is_none() {
            let (sender, receiver) = channel::<OwnedFd>();
            let waiting = Arc::clone(&self.waiting);
            let run = move || {
                for descriptor in receiver {
                    drop(descriptor);
                    waiting.fetch_sub(1, Ordering::Relaxed);
                }
            };
            let thread = std::thread::Builder::new().name("procq-closer".to_owned()).stack_size(64 * 1024);
            if thread.spawn(run).is_ok() {
                self.thread = Some(sender);
            }
        }
        self.thread.as_ref()
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
        let mut closer = Closer::default();
        let (read, write) = sys::pipe().unwrap();
        assert!(closer.close(vec![write]));
        assert_eq!(sys::read(read.as_fd(), &mut [0]).unwrap(), 0, "a read that waits for the other end's closing");
        while closer.waiting.load(Ordering::Relaxed) > 0 {
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
        assert!(closer.close(vec![slow, write]));
        let took = begun.elapsed();
        assert_eq!(sys::read(read.as_fd(), &mut [0]).unwrap(), 0);
        assert!(took < begun.elapsed() / 2, "handing over took as long as closing");
    }

    #[test]
    fn one_that_rests_closes_what_it_has_and_goes_on_with_what_comes() {
        let mut closer = Closer::default();
        for _ in 0..2 {
            let (read, write) = sys::pipe().unwrap();
            assert!(closer.close(vec![write]));
            closer.rest();
            assert_eq!(sys::read(read.as_fd(), &mut [0]).unwrap(), 0);
        }
    }

    #[test]
    fn too_many_that_wait_are_told() {
        let mut closer = Closer::default();
        let (slow, _peer) = lingering();
        let null = sys::dev_null().unwrap();
        let many = (0..=MOST).map(|_| null.try_clone().unwrap());
        assert!(!closer.close([slow].into_iter().chain(many).collect()));
    }
}
