"""The service manager that procq may run under: how it is found, and what belongs to it and to nobody below procq.

See sd_notify(3). Kept free of heavy imports: `procq up` starts here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""Variables that are meant for procq's own process: a worker that obeyed them would speak for all of procq."""


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """Where it listens (a path, or `@` and an abstract name), and the time in microseconds without a sign of life
    after which it takes procq for hung, None where it does not look.
    """

    socket: str
    watchdog: int | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> ServiceManager | None:
        """The one that has started the process `pid` with this environment; None where there is none."""
        socket = environ.get("NOTIFY_SOCKET", "")
        if not socket.startswith(("/", "@")) or socket in ("/", "@"):
            return None
        usec = environ.get("WATCHDOG_USEC", "")
        meant = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        return cls(socket, int(usec) if usec.isdecimal() and int(usec) and meant else None)


def without(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for all that runs below procq."""
    return {name: value for name, value in environ.items() if name not in OURS}


def own(environ: Mapping[str, str] = os.environ) -> ServiceManager | None:
    """The service manager of this process."""
    return ServiceManager.of(environ, os.getpid())
