//! The socket that `NOTIFY_SOCKET` names: datagrams, each with its sender as the kernel knows him.

use crate::state::{Fd, Inherited, Luggage};
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

/// The longest message that is taken; systemd takes as many bytes.
pub const LONGEST_NOTICE: usize = 4096;

/// Missing from libc; Linux 6.5.
const SO_PASSPIDFD: libc::c_int = 76;
const SCM_PIDFD: libc::c_int = 4;
/// Linux 6.16.
const SO_PASSRIGHTS: libc::c_int = 83;
/// The most descriptors that the kernel lets one message carry.
const MOST_DESCRIPTORS: usize = 253;

/// A datagram socket with a name in the abstract namespace, which goes with the socket.
#[derive(Debug)]
pub struct NotifySocket {
    socket: OwnedFd,
    name: String,
}

/// As an upgrade hands it on.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedNotifySocket {
    socket: Fd,
    name: String,
}

/// One message.
#[derive(Debug)]
pub struct Notice<'a> {
    /// What it says.
    pub text: &'a [u8],
    /// It was longer than this.
    pub cut: bool,
    /// The abstract name of the socket that it was sent from, where that has one.
    pub from: Option<Vec<u8>>,
    /// Who has sent it; nobody that we could name where he is outside our PID namespace.
    pub sender: Option<Sender>,
    /// What it carried. Closing them may wait: for a network that lingers, a file system that does not answer.
    pub descriptors: Vec<OwnedFd>,
}

/// Who has sent a message, as the kernel vouches for. Only a privileged sender can name another than himself.
#[derive(Debug)]
pub struct Sender {
    /// His process id when he sent it.
    pub pid: i32,
    /// His user then.
    pub uid: u32,
    handle: Handle,
}

#[derive(Debug)]
enum Handle {
    /// The kernel does not hand out such, or had no room for it.
    None,
    /// He was gone already when it was received.
    Gone,
    Held(OwnedFd),
}

impl Sender {
    /// Whether his number is still his: asked after a look at `/proc`, it says whom was looked at. An ended process keeps it until it is reaped.
    pub fn keeps_his_number(&self) -> bool {
        match &self.handle {
            Handle::None => Path::new(&format!("/proc/{}", self.pid)).exists(),
            Handle::Gone => false,
            Handle::Held(pidfd) => {
                // SAFETY: integers and a null siginfo; signal 0 only asks.
                let sent = unsafe {
                    libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), 0, std::ptr::null::<u8>(), 0)
                };
                sent == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
            }
        }
    }
}

impl NotifySocket {
    /// Binds one. `name` without the `@` that stands for its place in the abstract namespace.
    pub fn bind(name: String) -> io::Result<NotifySocket> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        // Before the name is known to anybody: no message is without its sender.
        hear_senders(socket.as_fd())?;
        // Of each sender; refused before Linux 6.5.
        set_option(socket.as_fd(), SO_PASSPIDFD, 1);
        net::bind(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
        Ok(NotifySocket { socket, name })
    }

    /// As an upgrade hands it on.
    pub fn save(&self, luggage: &mut Luggage) -> SavedNotifySocket {
        let NotifySocket { socket, name } = self;
        SavedNotifySocket { socket: luggage.pack(socket), name: name.clone() }
    }

    /// The inverse.
    pub fn restore(saved: SavedNotifySocket, inherited: &Inherited) -> NotifySocket {
        NotifySocket { socket: inherited.take(saved.socket), name: saved.name }
    }

    /// What to put into `NOTIFY_SOCKET`.
    pub fn address(&self) -> String {
        format!("@{}", self.name)
    }

    /// Sends to the socket of this abstract name, without waiting: who does not listen misses it.
    pub fn tell(&self, name: &[u8], line: &str) {
        if let Ok(address) = SocketAddrUnix::new_abstract_name(name) {
            let flags = net::SendFlags::DONTWAIT | net::SendFlags::NOSIGNAL;
            let _ = net::sendto(&self.socket, line.as_bytes(), flags, &address);
        }
    }

    /// Takes no more messages: who sends one is told. What has come can be received.
    pub fn refuse(&self) {
        let _ = net::shutdown(&self.socket, net::Shutdown::Read);
    }

    /// Takes no more descriptors: who sends one is told. False where the kernel knows no such thing.
    pub fn refuse_descriptors(&self) -> bool {
        set_option(self.socket.as_fd(), SO_PASSRIGHTS, 0)
    }

    /// The next message; `WouldBlock` when there is none.
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Notice<'a>> {
        let room = buffer.len().min(LONGEST_NOTICE);
        // No message is without its sender: that was the end.
        receive(self.socket.as_fd(), &mut buffer[..room])?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Has every message come with its sender.
pub fn hear_senders(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(set_socket_passcred(socket, true)?)
}

/// What has come to a socket that hears senders; nothing at its end, `WouldBlock` before anything comes.
pub fn receive<'a>(socket: BorrowedFd<'_>, buffer: &'a mut [u8]) -> io::Result<Option<Notice<'a>>> {
    let mut control = Control([0; Control::WORDS]);
    let room = buffer.len();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: room };
    // SAFETY: all zero is a valid header; what it points to outlives the call.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    // SAFETY: all zero is a valid address.
    let mut name: libc::sockaddr_un = unsafe { mem::zeroed() };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = mem::size_of_val(&name) as libc::socklen_t;
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = mem::size_of_val(&control.0) as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header describes the two buffers.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags) };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    if length == 0 && header.msg_controllen == 0 {
        return Ok(None);
    }
    let (sender, descriptors) = attached(&header);
    let text = &buffer[..(length as usize).min(room)];
    let from = abstract_name(&name, header.msg_namelen as usize);
    Ok(Some(Notice { text, cut: header.msg_flags & libc::MSG_TRUNC != 0, from, sender, descriptors }))
}

/// The name behind the null byte; none of a socket with a path or without a name.
fn abstract_name(address: &libc::sockaddr_un, length: usize) -> Option<Vec<u8>> {
    let used = length.checked_sub(mem::offset_of!(libc::sockaddr_un, sun_path))?;
    let path = address.sun_path.get(..used)?;
    let (first, name) = path.split_first()?;
    (*first == 0).then(|| name.iter().map(|byte| *byte as u8).collect())
}

/// Room for all that can come with one message, aligned as its headers are.
struct Control([u64; Control::WORDS]);

impl Control {
    // SAFETY: arithmetic on numbers.
    const BYTES: usize = unsafe {
        let credentials = libc::CMSG_SPACE(mem::size_of::<libc::ucred>() as u32);
        let rights = libc::CMSG_SPACE((MOST_DESCRIPTORS * mem::size_of::<libc::c_int>()) as u32);
        let pidfd = libc::CMSG_SPACE(mem::size_of::<libc::c_int>() as u32);
        (credentials + rights + pidfd) as usize
    };
    const WORDS: usize = Control::BYTES.div_ceil(mem::size_of::<u64>());
}

/// What came with a message. Takes hold of every descriptor in it.
#[allow(clippy::unnecessary_cast)] // musl counts with another type
fn attached(header: &libc::msghdr) -> (Option<Sender>, Vec<OwnedFd>) {
    let (mut credentials, mut handle, mut descriptors) = (None, Handle::None, Vec::new());
    // SAFETY: the kernel has filled the control buffer that the header names, and the macros stay inside it. Descriptors in it have
    // just been made for us.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while let Some(part) = at.as_ref().filter(|part| part.cmsg_level == libc::SOL_SOCKET) {
            let data = libc::CMSG_DATA(part);
            let length = (part.cmsg_len as usize).saturating_sub(data as usize - at as usize);
            let numbers = || (0..length / 4).map(|n| data.cast::<libc::c_int>().add(n).read_unaligned());
            match part.cmsg_type {
                libc::SCM_CREDENTIALS => credentials = Some(data.cast::<libc::ucred>().read_unaligned()),
                libc::SCM_RIGHTS => descriptors.extend(numbers().map(|fd| OwnedFd::from_raw_fd(fd))),
                SCM_PIDFD => {
                    handle = match numbers().next() {
                        Some(fd) if fd >= 0 => Handle::Held(OwnedFd::from_raw_fd(fd)),
                        _ => Handle::Gone,
                    }
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
    let sender = credentials.filter(|sender| sender.pid > 0);
    (sender.map(|ucred| Sender { pid: ucred.pid, uid: ucred.uid, handle }), descriptors)
}

/// Sets an option of a socket; false where the kernel knows no such one.
fn set_option(socket: BorrowedFd<'_>, option: libc::c_int, value: libc::c_int) -> bool {
    let size = mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: points to an integer of the size that is told.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, std::ptr::from_ref(&value).cast(), size)
    };
    set == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    fn bound() -> NotifySocket {
        use std::hash::{BuildHasher, Hasher};
        let random = std::hash::RandomState::new().build_hasher().finish();
        NotifySocket::bind(format!("procq-test/{random:x}")).unwrap()
    }

    fn send(to: &NotifySocket, text: &[u8]) {
        let address = SocketAddr::from_abstract_name(to.name.as_bytes()).unwrap();
        UnixDatagram::unbound().unwrap().send_to_addr(text, &address).unwrap();
    }

    /// With descriptors, as `sd_notify_barrier` and the descriptor store send them.
    fn send_with(to: &NotifySocket, text: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap();
        net::connect(&socket, &SocketAddrUnix::new_abstract_name(to.name.as_bytes()).unwrap()).unwrap();
        let mut space = [mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = net::SendAncillaryBuffer::new(&mut space);
        assert!(control.push(net::SendAncillaryMessage::ScmRights(descriptors)));
        let parts = [io::IoSlice::new(text)];
        net::sendmsg(&socket, &parts, &mut control, net::SendFlags::empty()).unwrap();
    }

    #[test]
    fn a_message_comes_with_its_sender() {
        let socket = bound();
        assert!(socket.address().starts_with("@procq-test/"));
        send(&socket, b"READY=1");
        let mut buffer = [0; LONGEST_NOTICE];
        let notice = socket.receive(&mut buffer).unwrap();
        assert_eq!((notice.text, notice.cut, notice.descriptors.len()), (&b"READY=1"[..], false, 0));
        let sender = notice.sender.expect("the kernel names him");
        assert_eq!((sender.pid, sender.uid), (sys::own_pid(), sys::own_uid()));
        assert!(sender.keeps_his_number());
        assert_eq!(socket.receive(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn too_long_a_message_is_cut_and_says_so() {
        let socket = bound();
        for (length, cut) in [(LONGEST_NOTICE, false), (LONGEST_NOTICE + 1, true)] {
            send(&socket, &vec![b'x'; length]);
            let mut buffer = [0; 2 * LONGEST_NOTICE];
            let notice = socket.receive(&mut buffer).unwrap();
            assert_eq!((notice.text.len(), notice.cut), (LONGEST_NOTICE, cut));
        }
    }

    #[test]
    fn the_most_that_a_message_can_carry_is_received_whole_and_closed() {
        let socket = bound();
        let (read, write) = sys::pipe().unwrap();
        send_with(&socket, b"FDSTORE=1", &[write.as_fd(); MOST_DESCRIPTORS]);
        drop(write);
        let mut buffer = [0; LONGEST_NOTICE];
        let notice = socket.receive(&mut buffer).unwrap();
        assert_eq!(notice.descriptors.len(), MOST_DESCRIPTORS);
        assert!(notice.sender.as_ref().is_some_and(Sender::keeps_his_number));
        for descriptor in &notice.descriptors {
            assert!(rustix::io::fcntl_getfd(descriptor).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        }
        drop(notice);
        assert_eq!(sys::read(read.as_fd(), &mut [0]).unwrap(), 0, "nobody holds the other end any more");
    }

    #[test]
    fn faults_54_a_sender_who_was_reaped_does_not_keep_his_number() {
        let socket = bound();
        let address = SocketAddr::from_abstract_name(socket.name.as_bytes()).unwrap();
        let theirs = UnixDatagram::unbound().unwrap();
        // SAFETY: the child makes system calls only.
        let pid = match unsafe { libc::fork() } {
            0 => {
                let sent = theirs.send_to_addr(b"READY=1", &address).is_ok();
                sys::leave(i32::from(!sent))
            }
            pid => pid,
        };
        assert!(pid > 0);
        let child = sys::Child::open(pid).unwrap();
        let ended = || while !child.has_ended() {};
        ended();
        let mut buffer = [0; LONGEST_NOTICE];
        let notice = socket.receive(&mut buffer).unwrap();
        let sender = notice.sender.expect("the kernel names him");
        assert_eq!(sender.pid, pid);
        assert!(sender.keeps_his_number(), "nobody else can have it before he is reaped");
        child.wait().unwrap();
        assert!(!sender.keeps_his_number());
    }

    #[test]
    fn a_name_is_free_once_its_socket_is_closed() {
        let socket = bound();
        let name = socket.name.clone();
        assert!(NotifySocket::bind(name.clone()).is_err(), "it is taken");
        drop(socket);
        assert!(NotifySocket::bind(name).is_ok());
    }
}
