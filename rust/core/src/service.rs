//! The service manager that procq runs under: systemd, or whoever else set `NOTIFY_SOCKET`; see sd_notify(3).
//!
//! What it is told is found by the keeper and the control plane, and sent by the sentinel, which is the service's main process: a unit
//! with `NotifyAccess=main` believes nobody else, least of all a worker.

use crate::sys::{self, DatagramAddress};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Messages that wait for a manager which takes none at the moment. What it hears too late is of no use to it.
const MOST_WAITING: usize = 16;
/// Nanoseconds between two attempts to send what waits.
pub const TRY_AGAIN: u64 = 100_000_000;
/// Bytes of one message.
pub const LONGEST: usize = 4096;

/// Tells the service manager, without ever waiting for it.
#[derive(Debug)]
pub struct Manager {
    socket: OwnedFd,
    address: DatagramAddress,
    waiting: VecDeque<Vec<u8>>,
}

impl Manager {
    /// `address` as in `NOTIFY_SOCKET`: an absolute path, or `@` and an abstract name.
    ///
    /// # Errors
    /// It is neither of them, or no socket can be had.
    pub fn at(address: &[u8]) -> io::Result<Manager> {
        let address = sys::datagram_address(address)?;
        Ok(Manager { socket: sys::datagram_socket()?, address, waiting: VecDeque::new() })
    }

    /// Sends `state` after all that waits.
    pub fn tell(&mut self, state: &[u8]) {
        if self.waiting.len() == MOST_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(state.to_vec());
        self.send();
    }

    /// Whether something waits.
    pub fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends what can be sent.
    pub fn send(&mut self) {
        while let Some(state) = self.waiting.front() {
            match sys::send_to(self.socket.as_fd(), state, &self.address) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return,
                // Sent, or nobody is there to hear it.
                _ => self.waiting.pop_front(),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    fn listen(name: &str) -> (UnixDatagram, Manager) {
        let name = format!("procq-test-{}-{name}", std::process::id());
        let listener = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        listener.set_nonblocking(true).unwrap();
        (listener, Manager::at(format!("@{name}").as_bytes()).unwrap())
    }

    fn heard(listener: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; LONGEST];
        std::iter::from_fn(|| listener.recv(&mut buffer).ok().map(|n| String::from_utf8_lossy(&buffer[..n]).into()))
            .collect()
    }

    #[test]
    fn what_the_manager_does_not_take_at_once_comes_in_order() {
        let (listener, mut manager) = listen("order");
        let mut expected = Vec::new();
        while !manager.is_behind() {
            let state = format!("STATUS={}", expected.len());
            manager.tell(state.as_bytes());
            expected.push(state);
        }
        manager.tell(b"READY=1");
        expected.push("READY=1".into());
        let mut found = heard(&listener);
        manager.send();
        found.extend(heard(&listener));
        assert_eq!(found, expected);
        assert!(!manager.is_behind());
    }

    #[test]
    fn a_manager_that_never_listens_costs_a_bounded_number_of_messages() {
        let (_listener, mut manager) = listen("deaf");
        (0..10_000).for_each(|n: u32| manager.tell(format!("STATUS={n}").as_bytes()));
        assert_eq!(manager.waiting.len(), MOST_WAITING);
        assert_eq!(manager.waiting.back().unwrap(), b"STATUS=9999");
    }

    #[test]
    fn a_manager_that_has_gone_is_not_waited_for() {
        let (listener, mut manager) = listen("gone");
        drop(listener);
        manager.tell(b"READY=1");
        assert!(!manager.is_behind());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let too_long = [b"/".as_slice(), &[b'x'; 200]].concat();
        for address in [b"".as_slice(), b"@", b"relative", b"vsock:2:1", &too_long] {
            assert!(Manager::at(address).is_err(), "{}", String::from_utf8_lossy(address));
        }
    }
}
