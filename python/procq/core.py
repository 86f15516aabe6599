"""The seam to Rust: the only module that imports `_core`.

Everything above it sees a link that carries dictionaries (their kinds and fields are those of
`rust/core/src/proto/messages.rs`), and two ways to get a keeper: become one, or start one of one's own.
"""

from __future__ import annotations

import marshal
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from procq import _core
from procq._core import PROTOCOL, VERSION, Link, check_pattern, usage
from procq.service import ServiceManager

__all__ = [
    "PROTOCOL",
    "VERSION",
    "Containment",
    "Hosting",
    "Link",
    "check_pattern",
    "exec_host",
    "start_owned",
    "upgrade_order",
    "usage",
]

# A bare interpreter, the extension, and nothing else: no site, no packages, about 8 ms and 5 MiB.
_LOADER = """\
import marshal, sys
from _frozen_importlib import ModuleSpec, _load
from _frozen_importlib_external import ExtensionFileLoader
name, path, what, *rest = "procq._core", *sys.argv[1:]
try:
    core = _load(ModuleSpec(name, ExtensionFileLoader(name, path), origin=path))
    if what == "host":
        with open(int(rest[0]), "rb") as config:
            config = marshal.load(config)
        core.host(config)
    core.resume([what, *rest])
except BaseException as error:
    if what == "resume":
        # We are the keeper, and cannot be: the former image can. See rust/core/src/image.rs.
        import posix
        posix.execv(rest[1], [*rest[2:], f"{type(error).__name__}: {error}"])
    raise
"""

# Where the keeper puts them in a control plane.
_LINK_FD = 3
_API_FD = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosting:
    """What sentinel and keeper are told when they begin.

    `control` is the command of the control plane, to which `--link-fd` and `--api-fd` are added; empty in library use.
    `keeper_fd` is a listener to serve in the place of `keeper_socket`. `ready_fd` gets a line once the control plane
    is ready, and is closed without one when that will never be. `service` is told how procq is. `most_output`: above so
    many bytes standard output, a file that is open for appending, begins anew. `ping` and `silence` are seconds:
    between two questions to the control plane, and without an answer until it is replaced. `tier` is the highest tier
    of containment that may be used (docs/guarantees.md), PROCQ_TIER where it is None; what of it cannot be had is an
    error where it is `tier_required`.
    """

    control: Sequence[str] = ()
    environ: Mapping[str, str] | None = None
    run_dir: str | None = None
    keeper_socket: str | None = None
    api_socket: str | None = None
    keeper_fd: int | None = None
    lock: str | None = None
    ready_fd: int | None = None
    service: ServiceManager | None = None
    prefix: bool = True
    prefix_width: int = 13
    color: bool = False
    raw: bool = False
    most_output: int | None = None
    ping: float = 5.0
    silence: float = 30.0
    tier: int | None = None
    tier_required: bool = False

    def _config(self, owner_fd: int | None) -> dict[str, Any]:
        descriptors = [f"--link-fd={_LINK_FD}", f"--api-fd={_API_FD}"] if self.control else []
        return {
            "control": [os.fsencode(word) for word in (*self.control, *descriptors)],
            "run_dir": self.run_dir,
            "keeper_socket": self.keeper_socket,
            "api_socket": self.api_socket,
            "keeper_fd": self.keeper_fd,
            "lock": self.lock,
            "release": VERSION,
            "image": [os.fsencode(word) for word in _image()],
            "files": [os.fsencode(file) for file in (sys.executable, _core.__file__)],
            "ready_fd": self.ready_fd,
            "owner_fd": owner_fd,
            "notify_socket": None if self.service is None else os.fsencode(self.service.socket),
            "watchdog_usec": None if self.service is None else self.service.watchdog,
            "console": {
                "prefix": self.prefix,
                "width": self.prefix_width,
                "colour": self.color,
                "raw": self.raw,
                "most": self.most_output,
            },
            "watch": {"ping": round(self.ping * 1000), "silence": round(self.silence * 1000)},
            "contain": {"most": self.tier or default_tier(os.environ), "required": self.tier_required},
        }


@dataclass(frozen=True, slots=True)
class Containment:
    """Whether control groups can be made from here. `lack` is a word for what is missing, `why` says it to people."""

    cgroup: str | None
    lack: str | None
    why: str
    controllers: tuple[str, ...]


def containment() -> Containment:
    """Looks, with the eyes of the keeper, and changes nothing."""
    cgroup, lack, why, controllers = _core.containment()
    return Containment(cgroup, lack, why, tuple(controllers))


def default_tier(environ: Mapping[str, str]) -> int:
    """The highest tier that may be used where nobody has said: PROCQ_TIER, else 2."""
    said = environ.get("PROCQ_TIER", "")
    return int(said) if said in {"1", "2", "3"} else 2


def upgrade_order(control: Sequence[str], who: str) -> dict[str, Any]:
    """The request that makes a running keeper one of this version.

    `control` are the first words of its control plane's command; its options it keeps.
    """
    return {
        "t": "upgrade",
        "release": VERSION,
        "command": [os.fsencode(word) for word in _image()],
        "files": [os.fsencode(file) for file in (sys.executable, _core.__file__)],
        "control": [os.fsencode(word) for word in control],
        "who": who,
    }


def exec_host(hosting: Hosting) -> NoReturn:
    """Turns this process into procq: exec, then sentinel and keeper. Raises OSError when it cannot."""
    _block_signals()
    command, config = _command(hosting, None)
    for descriptor in (config, hosting.ready_fd):
        if descriptor is not None:
            os.set_inheritable(descriptor, True)
    os.execve(command[0], command, hosting.environ if hosting.environ is not None else os.environ)


def start_owned(hosting: Hosting, *, quiet: bool = False) -> tuple[Link, subprocess.Popen[bytes]]:
    """Starts a keeper whose control plane we are: when the link closes, or we die, it stops every worker.

    `quiet`: what workers write is shown nowhere. Raises OSError when the interpreter cannot be started.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        command, config = _command(hosting, theirs.fileno())
        former = _block_signals()
        try:
            # A session of its own: ^C in our terminal is ours to act on.
            process = subprocess.Popen(
                command,
                env=hosting.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if quiet else None,
                pass_fds=[fd for fd in (config, theirs.fileno(), hosting.keeper_fd) if fd is not None],
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)
            os.close(config)
    return Link(ours.detach(), "control"), process


def _command(hosting: Hosting, owner_fd: int | None) -> tuple[list[str], int]:
    """The bare interpreter's command, and the pipe that holds the configuration (it fits: a few kilobytes)."""
    reader, writer = os.pipe()
    with open(writer, "wb") as pipe:
        marshal.dump(hosting._config(owner_fd), pipe)
    return [*_image(), "host", str(reader)], reader


def _image() -> list[str]:
    """The command of a keeper of this version, in front of what it is told."""
    return [sys.executable, "-I", "-S", "-c", _LOADER, _core.__file__]


def _block_signals() -> set[signal.Signals]:
    """None may be lost on the way to the sentinel, which reads them as data. Returns the mask before."""
    return {signal.Signals(s) for s in signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())}
