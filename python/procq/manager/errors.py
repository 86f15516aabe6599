"""What a manager refuses."""

from __future__ import annotations

from collections.abc import Sequence

from procq.errors import ProcqError


class ManagerClosed(ProcqError):
    """The manager was closed, its keeper is gone, or this process is a forked child, which has no manager."""


class StillRunning(ProcqError):
    """Workers had not left in time. `workers` are their ids; their grace period goes on, and then they are killed."""

    def __init__(self, workers: Sequence[str]) -> None:
        super().__init__(f"still running: {', '.join(workers)}", hint="Shorten their grace period, or wait longer.")
        self.workers = tuple(workers)


class NoSuchQueue(ProcqError, KeyError):
    """No queue has that name, and nothing says what its workers would run."""


class NotStarted(ProcqError):
    """A program that was to run did not come to execute; the message says why."""
