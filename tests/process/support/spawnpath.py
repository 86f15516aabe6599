"""Every system call of the spawn path, and what follows when it fails: the table of test_injection.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SPAWNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "user": {"user": {"uid": 4711, "gid": 4711, "groups": [4712]}},
    "terminal": {"tty": True},
}
"""Kinds of workers whose spawn paths differ."""
COMMON: dict[str, Any] = {
    "directory": "/tmp",
    "umask": 0o22,
    "nice": 1,
    "limits": [{"resource": 7, "soft": 100, "hard": 100}],
}
"""What all of them ask for, so that each call is there."""

TRANSIENT = {"EAGAIN", "ENOMEM", "EMFILE", "ENFILE", "EINTR", "EIO", "ENOSPC"}
"""Errors that say nothing about the command."""


@dataclass(frozen=True, slots=True)
class Fails:
    """The worker does not start; it is told at which stage, with the number, and that nothing of it is left."""

    stage: str
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Runs:
    """The worker runs as if nothing had been."""

    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cannot:
    """It has no errors that a spawn could meet, or none that strace can pretend."""

    why: str


Expected = Fails | Runs | Cannot

_ALWAYS = Cannot("has no error with these arguments")
_CLOSES = Cannot("closes whatever it returns; strace would leave the descriptor open")
_LOOP = Cannot("is not part of a spawn: the loop that the keeper does everything in")
_LACKS = ("EMFILE", "ENFILE", "ENOMEM")

PARENT: dict[str, Expected] = {
    # What comes and goes with the order of events: any number of these.
    "epoll_pwait": Runs(("EINTR",)),
    "recvfrom": Runs(("EINTR",)),
    "sendto": Runs(("EINTR", "EAGAIN")),
    "read": Runs(("EINTR",)),
    "close": _CLOSES,
    "epoll_ctl DEL": _ALWAYS,
    "waitid": _ALWAYS,
    "getpid": _ALWAYS,
    "write": _LOOP,
    "prlimit64 RLIMIT_NOFILE get": _ALWAYS,
    "fcntl F_GETFL": _ALWAYS,
    "munmap": _ALWAYS,
    "geteuid": _ALWAYS,
    "recvmsg": Runs(("EINTR",)),
    "shutdown": _ALWAYS,
    # A spawn, in its order.
    "socket": Fails("streams", _LACKS),
    "setsockopt": Fails("streams", ("ENOMEM",)),
    "setsockopt 2": Runs(("ENOPROTOOPT", "ENOMEM")),
    "bind": Fails("streams", ("ENOMEM",)),
    "socketpair": Fails("streams", _LACKS),
    "fcntl F_SETFL": Fails("streams", ("ENOMEM",)),
    "setsockopt 3": Fails("streams", ("ENOMEM",)),
    "pipe2": Fails("streams", _LACKS),
    "pipe2 2": Fails("streams", _LACKS),
    "fcntl F_SETFL 2": Fails("streams", ("ENOMEM",)),
    "fcntl F_SETFL 3": Fails("streams", ("ENOMEM",)),
    "pipe2 3": Fails("clone", _LACKS),
    "fcntl F_SETFL 4": Fails("clone", ("ENOMEM",)),
    "fcntl F_DUPFD_CLOEXEC": Fails("clone", ("EMFILE", "ENOMEM")),
    "fcntl F_DUPFD_CLOEXEC 2": Fails("clone", ("EMFILE", "ENOMEM")),
    "mmap": Fails("clone", ("ENOMEM", "EAGAIN")),
    "mprotect": Fails("clone", ("ENOMEM",)),
    "clone3": Fails("clone", ("EAGAIN", "ENOMEM", "EINVAL")),
    "epoll_ctl ADD": Fails("clone", ("ENOMEM", "ENOSPC")),
    "epoll_ctl ADD 2": Fails("clone", ("ENOMEM", "ENOSPC")),
    "epoll_ctl ADD 3": Fails("clone", ("ENOMEM", "ENOSPC")),
    "epoll_ctl ADD 4": Fails("clone", ("ENOMEM", "ENOSPC")),
    "epoll_ctl ADD 5": Fails("clone", ("ENOMEM", "ENOSPC")),
    "epoll_ctl ADD 6": Fails("clone", ("ENOMEM", "ENOSPC")),
    # Its end: the children are looked at once more.
    "openat /proc/self/task/N/children": Runs(_LACKS),
    "statx": Runs(("ENOMEM",)),
}
"""Calls of the keeper for a plain worker. A name without a number is every further one of that name, too."""

USER_PARENT: dict[str, Expected] = {
    "getresuid": _ALWAYS,
    "getresgid": _ALWAYS,
    "getgroups": _ALWAYS,
    "capget": _ALWAYS,
    "clone": Fails("clone", ("EAGAIN", "ENOMEM")),
}
TERMINAL_PARENT: dict[str, Expected] = {
    "ioctl TIOCGWINSZ": Runs(("ENOTTY",)),
    "open": Fails("terminal", ("EIO", *_LACKS)),
    "openat /dev/ptmx": Fails("terminal", ("EIO", *_LACKS)),
    "ioctl TIOCSPTLCK": Fails("terminal", ("EIO",)),
    "ioctl TIOCGPTPEER": Fails("terminal", ("EIO", "EMFILE")),
    "ioctl TCGETSN": Fails("terminal", ("EIO",)),
    "ioctl TCSETSN": Fails("terminal", ("EIO",)),
    "ioctl TIOCSWINSZ": Fails("terminal", ("EIO",)),
    "fcntl F_SETFL 2": Fails("terminal", ("ENOMEM",)),
    "pipe2": Fails("clone", _LACKS),
    "fcntl F_SETFL 3": Fails("clone", ("ENOMEM",)),
}

CHILD: dict[str, Expected] = {
    "setsid": Fails("session", ("EPERM",)),
    "prctl PR_SET_PDEATHSIG": Runs(("EINVAL", "EPERM", "ENOSYS")),
    "getppid": _ALWAYS,
    "prlimit64 RLIMIT_LOCKS get": Runs(("EPERM", "EINVAL")),
    "prlimit64 RLIMIT_LOCKS set": Runs(("EPERM", "EINVAL")),
    "prlimit64 RLIMIT_NOFILE set": Fails("descriptors", ("EPERM", "EINVAL")),
    "dup3": Fails("streams", ("EBUSY", "EMFILE")),
    "dup3 2": Fails("streams", ("EBUSY", "EMFILE")),
    "dup3 3": Fails("streams", ("EBUSY", "EMFILE")),
    "dup3 4": Fails("streams", ("EBUSY", "EMFILE")),
    "dup3 5": Fails("streams", ("EBUSY", "EMFILE")),
    "close_range": Runs(("ENOSYS", "EINVAL", "ENOMEM")),
    "prlimit64 RLIMIT_NOFILE set 2": Fails("limits", ("EPERM", "EINVAL")),
    "setpriority": Fails("nice", ("EPERM", "EACCES")),
    "umask": _ALWAYS,
    "chdir": Fails("directory", ("EACCES", "ENOENT", "EIO", "ELOOP", "ENOMEM")),
    "rt_sigprocmask": Fails("signals", ("EINVAL",)),
    "execve": Fails(
        "exec",
        ("EACCES", "EPERM", "ENOMEM", "EAGAIN", "EIO", "ENFILE", "EMFILE", "E2BIG", "ENOEXEC", "EISDIR", "ELOOP"),
    ),
}
"""Calls of a child between clone and exec."""

USER_CHILD: dict[str, Expected] = {
    "setgroups": Fails("groups", ("EPERM", "ENOMEM", "EINVAL")),
    "setresgid": Fails("groups", ("EPERM", "EINVAL")),
    "setresuid": Fails("user", ("EPERM", "EAGAIN", "EINVAL")),
    "prctl PR_SET_DUMPABLE": Runs(("EINVAL",)),
    "setresuid 2": Fails("user", ("EPERM", "EAGAIN")),
    "getresuid": Fails("user", ("EFAULT",)),
    "getresgid": Fails("groups", ("EFAULT",)),
    "capset": Fails("user", ("EPERM",)),
    "setresuid 3": Cannot("must fail: see test_faults_31_a_way_back"),
}
TERMINAL_CHILD: dict[str, Expected] = {"ioctl TIOCSCTTY": Fails("terminal", ("EPERM",))}

TABLE: dict[tuple[str, str], dict[str, Expected]] = {
    ("plain", "parent"): PARENT,
    ("plain", "child"): CHILD,
    ("user", "parent"): PARENT | USER_PARENT,
    ("user", "child"): CHILD | USER_CHILD,
    ("terminal", "parent"): PARENT | TERMINAL_PARENT,
    ("terminal", "child"): CHILD | TERMINAL_CHILD,
}


def expected(kind: str, side: str, name: str) -> Expected | None:
    """What is said about a call; None when nothing is."""
    table = TABLE[kind, side]
    return table.get(name) or table.get(name.rstrip("0123456789 "))


def cases() -> list[tuple[str, str, str, str]]:
    """Kind of worker, side, call and error: each once, with the first kind of worker that it is the same for."""
    found: list[tuple[str, str, str, str]] = []
    for (kind, side), table in TABLE.items():
        for name, what in table.items():
            if not isinstance(what, Cannot) and (kind == "plain" or TABLE["plain", side].get(name) is not what):
                found += [(kind, side, name, error) for error in what.errors]
    return found
