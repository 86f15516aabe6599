//! What every Unix has alike: clocks, sockets, pipes, files, limits.

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit};
use rustix::time::ClockId;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

fn nanoseconds(clock: ClockId) -> u64 {
    let now = rustix::time::clock_gettime(clock);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Nanoseconds of the monotonic clock: what every deadline is measured in.
pub fn monotonic() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// Nanoseconds since the epoch: only ever shown to people.
pub fn wall() -> u64 {
    nanoseconds(ClockId::Realtime)
}

/// Makes reads and writes through this description return instead of waiting.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}

/// Two connected stream sockets, closed on exec.
pub fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// Two connected sockets that keep the bounds of what is sent, closed on exec.
pub fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Where datagrams may be sent to.
pub type DatagramAddress = SocketAddrUnix;

/// The address of a socket by its absolute path, or by `@` and its abstract name.
pub fn datagram_address(text: &[u8]) -> io::Result<DatagramAddress> {
    match text {
        [b'/', _, ..] => Ok(SocketAddrUnix::new(text)?),
        [b'@', name @ ..] if !name.is_empty() => Ok(SocketAddrUnix::new_abstract_name(name)?),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// A socket without a name, for sending datagrams; closed on exec.
pub fn datagram_socket() -> io::Result<OwnedFd> {
    Ok(net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
}

/// Sends one datagram, without waiting and without SIGPIPE.
pub fn send_to(fd: BorrowedFd<'_>, bytes: &[u8], address: &DatagramAddress) -> io::Result<usize> {
    Ok(net::sendto(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, address)?)
}

/// Sends without waiting and without SIGPIPE; returns how many bytes were taken.
pub fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

/// Receives without waiting; 0 at the end of the stream.
pub fn recv(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(net::recv(fd, buffer, RecvFlags::DONTWAIT)?.0)
}

/// Reads from a pipe or file.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::read(fd, buffer)?)
}

/// Writes to a pipe or file; returns how many bytes were taken.
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(fd, bytes)?)
}

/// Writes a short line, unless that would have to wait.
pub fn write_if_ready(fd: BorrowedFd<'_>, line: &[u8]) {
    let mut ready = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::OUT)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    if rustix::event::poll(&mut ready, Some(&now)).is_ok_and(|ready| ready > 0) {
        let _ = write(fd, line);
    }
}

/// A stream listener at `path`, mode 0600 from its first moment; replaces what an earlier life left there.
pub fn listen(path: &Path) -> io::Result<OwnedFd> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = net::bind(&socket, &SocketAddrUnix::new(path)?);
    rustix::process::umask(before);
    bound?;
    net::listen(&socket, 128)?;
    set_nonblocking(socket.as_fd())?;
    Ok(socket)
}

/// The next client of `listener`, closed on exec; `WouldBlock` when there is none.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(net::accept_with(listener, SocketFlags::CLOEXEC)?)
}

/// Takes the lock of a file for as long as the descriptor, or a copy of it, lives; `None` when somebody else has it.
pub fn lock_file(path: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Replaces what a file holds.
pub fn rewrite(file: BorrowedFd<'_>, text: &[u8]) -> io::Result<()> {
    rustix::fs::ftruncate(file, 0)?;
    rustix::io::pwrite(file, text, 0)?;
    Ok(())
}

/// `/dev/null`, for reading and writing.
pub fn dev_null() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())?)
}

/// A copy of the descriptor whose number is at least `lowest`, closed on exec.
pub fn duplicate_above(fd: BorrowedFd<'_>, lowest: RawFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, lowest)?)
}

/// Takes ownership of an inherited descriptor and marks it closed-on-exec. Fails where it is not open.
pub fn adopt_fd(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: probing an integer; ownership is taken only of a descriptor that is open and that the caller was handed.
    unsafe {
        if fd < 0 || libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) == -1 {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The soft and hard limit of open descriptors.
pub fn descriptor_limit() -> (u64, u64) {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX))
}

/// Whether fewer than `spare` descriptors are left, judged by one that has just been made: the lowest free number is always taken.
pub fn is_scarce(newest: BorrowedFd<'_>, spare: u64) -> bool {
    newest.as_raw_fd() as u64 + spare >= descriptor_limit().0
}

/// Raises the soft limit of open descriptors to the hard one; a keeper holds four per worker.
pub fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
}

/// This process's id.
pub fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// This process's parent's id; 1 or another reaper's once the parent has gone.
pub fn parent_pid() -> i32 {
    rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get())
}

/// Has the allocator give large buffers back to the system when they are freed, instead of keeping the most it ever needed.
pub fn return_large_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a parameter of the allocator; called while there is one thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10)
    };
}

/// Leaves at once: no destructors, no handlers, no Python.
pub fn leave(code: i32) -> ! {
    // SAFETY: never returns, touches nothing.
    unsafe { libc::_exit(code) }
}

/// A process group of its own in the same session: what a terminal sends to its foreground does not come here.
pub fn new_group() -> io::Result<()> {
    Ok(rustix::process::setpgid(None, None)?)
}

/// Leaves the controlling terminal and every process group: a session of its own.
pub fn new_session() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// What became of a fork.
pub enum Forked {
    /// We are the child.
    Child,
    /// We are the parent of this pid.
    Parent(i32),
}

/// Forks. Only while single-threaded: nothing else is safe in the child.
pub fn fork() -> io::Result<Forked> {
    // SAFETY: the caller has one thread, so the child's copy of memory is consistent.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// Whether one of our standard streams is a terminal that is still there.
pub fn has_terminal() -> bool {
    let streams = [io::stdin().as_raw_fd(), io::stdout().as_raw_fd(), io::stderr().as_raw_fd()];
    // SAFETY: the standard streams are open for the whole life of the process.
    streams.into_iter().any(|fd| rustix::termios::isatty(unsafe { BorrowedFd::borrow_raw(fd) }))
}

/// Makes sure that 0, 1 and 2 are open, so that no pipe of a worker ever gets one of these numbers.
pub fn open_standard_streams() -> io::Result<()> {
    while {
        // The lowest free number is taken: leave it open while it is one of the three.
        let null = dev_null()?;
        let low = null.as_raw_fd() <= 2;
        if low {
            std::mem::forget(null);
        }
        low
    } {}
    Ok(())
}

/// Whether a descriptor of this number is open.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: asks about a number.
    fd >= 0 && unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1
}

/// Lets the next image inherit a descriptor.
pub fn survive_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: changes a flag of a descriptor; fails where there is none.
    match unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Takes ownership of a descriptor that an image before this one has left to us, and which nobody else owns.
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: as the caller promises: inherited, open, and taken once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Replaces this process's image; returns only when that fails. Everything that is not closed on exec is inherited.
pub fn exec(program: &CStr, argv: &[CString]) -> io::Error {
    let pointers: Vec<_> = argv.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect();
    // SAFETY: both are NUL-terminated and live until the call has failed.
    unsafe { libc::execv(program.as_ptr(), pointers.as_ptr()) };
    io::Error::last_os_error()
}
