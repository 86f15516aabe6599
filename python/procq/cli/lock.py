"""Whether procq may start: only one for each project."""

from __future__ import annotations

import fcntl
import os
import time

from procq.client import Client
from procq.errors import AlreadyRunning, NotRunning
from procq.paths import Project
from procq.text import duration


def refuse_second(project: Project) -> None:
    """Raises AlreadyRunning, with the pid where it is known. The keeper takes the lock for good; this only asks."""
    descriptor = os.open(project.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _already(project) from None
    finally:
        os.close(descriptor)


def _already(project: Project) -> AlreadyRunning:
    try:
        info = Client(project, timeout=1.0).info()
    except NotRunning:
        return AlreadyRunning(
            f"{project.name} is just being started, or just ending",
            hint="Try again in a moment, or use `--name` to run a second copy.",
        )
    up = duration(max(0.0, time.time() - info.started))
    return AlreadyRunning(
        f"{project.name} is already running (pid {info.sentinel}, up {up})",
        hint="Use `procq status`, or `--name` to run a second copy.",
    )
