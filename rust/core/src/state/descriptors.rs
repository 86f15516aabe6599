//! Descriptors by number: packed by who leaves, taken by who comes.

use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::sys;

/// A descriptor that the next image inherits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fd(RawFd);

/// All that the next image is to inherit.
#[derive(Debug, Default)]
pub struct Luggage {
    packed: Vec<RawFd>,
}

impl Luggage {
    /// This one goes along.
    pub fn pack(&mut self, fd: impl AsFd) -> Fd {
        let number = fd.as_fd().as_raw_fd();
        self.packed.push(number);
        Fd(number)
    }

    /// This one, if it is there.
    pub fn pack_some(&mut self, fd: Option<&OwnedFd>) -> Option<Fd> {
        fd.map(|fd| self.pack(fd))
    }

    /// What was packed, in order: the same keeper makes the same list.
    pub fn list(&self) -> Vec<Fd> {
        let mut packed = self.packed.clone();
        packed.sort_unstable();
        packed.into_iter().map(Fd).collect()
    }

    /// Lets them survive the exec that follows. Everything else closes with it.
    pub fn release(&self) -> io::Result<()> {
        self.packed.iter().try_for_each(|fd| sys::survive_exec(*fd))
    }
}

/// The descriptors of a former image, each to be taken once.
///
/// Taking one that is not there is a panic and not an error: an error would close, on its way up, what the former
/// image needs should it have to go on. [`crate::host`] catches panics before anything is closed.
#[derive(Debug)]
pub struct Inherited {
    left: RefCell<HashSet<RawFd>>,
    pretend: bool,
}

impl Inherited {
    /// Looks whether all of them are there.
    ///
    /// # Errors
    /// One is missing, named twice, or a standard stream.
    pub fn check(list: &[Fd]) -> io::Result<Inherited> {
        let left: HashSet<RawFd> = list.iter().map(|fd| fd.0).collect();
        if left.len() != list.len() {
            return Err(io::Error::other("the state names a descriptor twice"));
        }
        match left.iter().find(|fd| **fd <= 2 || !sys::is_open(**fd)) {
            Some(missing) => Err(io::Error::other(format!("descriptor {missing} of the state is not open"))),
            None => Ok(Inherited { left: RefCell::new(left), pretend: false }),
        }
    }

    /// For a trial without the descriptors: something harmless stands for each.
    pub fn pretended(list: &[Fd]) -> Inherited {
        Inherited { left: RefCell::new(list.iter().map(|fd| fd.0).collect()), pretend: true }
    }

    /// Takes one over. It still survives an exec.
    ///
    /// # Panics
    /// It is not there, or was taken before.
    pub fn take(&self, fd: Fd) -> OwnedFd {
        assert!(self.left.borrow_mut().remove(&fd.0), "descriptor {} of the state is not to be had", fd.0);
        if self.pretend {
            return sys::dev_null().expect("a descriptor");
        }
        sys::own(fd.0)
    }

    /// Takes one over, if it is there.
    pub fn take_some(&self, fd: Option<Fd>) -> Option<OwnedFd> {
        fd.map(|fd| self.take(fd))
    }

    /// Closes what nobody has taken: the state of a newer version may name what this one does not know.
    pub fn close_rest(self) {
        if !self.pretend {
            self.left.into_inner().into_iter().map(sys::own).for_each(drop);
        }
    }
}

impl Fd {
    /// For children that inherit it under its number.
    pub fn number(self) -> RawFd {
        self.0
    }

    /// The descriptor of that number, which the caller knows to be open.
    pub fn of(fd: BorrowedFd<'_>) -> Fd {
        Fd(fd.as_raw_fd())
    }
}
