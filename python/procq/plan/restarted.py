"""What is counted of a worker that takes the place of one that has ended: the reason, of a number that is bounded.

Pure. More than a `Reason` says, which is why a spawn is planned; and less than an `End`, which has numbers and paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from procq.endings import Doom, End, ExitStatus
from procq.plan.actions import Reason


class Restarted(StrEnum):
    """Why a slot was taken again."""

    COMPLETED = "completed"
    """It had ended by itself, with code 0."""
    FAILED = "failed"
    """By itself, with another code."""
    KILLED = "killed"
    """By a signal that procq did not send."""
    MEMORY = "out_of_memory"
    """The kernel had no memory left for it."""
    NOT_READY = "not_ready"
    """It was not ready in time."""
    UNHEALTHY = "unhealthy"
    """It had failed its health check."""
    WATCHDOG = "watchdog"
    """It had not told its watchdog in time."""
    JOB_TIMEOUT = "job_timeout"
    """A job of it took longer than it may."""
    FAULT = "fault"
    """One of these four, as a control plane found that is no more."""
    UNKNOWN = "unknown"
    """Counted by a version of procq that kept no reasons."""
    NOT_STARTED = "not_started"
    """Its program was never executed."""
    LIMIT_MEMORY = "limit_memory"
    """It had reached that limit, as for the next four."""
    LIMIT_CPU = "limit_cpu"
    LIMIT_PIDS = "limit_pids"
    LIMIT_JOBS = "limit_jobs"
    LIMIT_AGE = "limit_age"
    CHANGED = "changed"
    """What its queue runs has changed."""
    ASKED = "asked"
    """Somebody asked for it, or it had been stopped and is wanted again."""

    @property
    def unwanted(self) -> bool:
        """Whether nobody wanted the one before to end: what `procq status` calls restarts."""
        return self in _UNWANTED


BY_ITSELF: Final = (Restarted.COMPLETED, Restarted.FAILED, Restarted.KILLED, Restarted.MEMORY)
_FAULTS: Final = (Restarted.NOT_READY, Restarted.UNHEALTHY, Restarted.WATCHDOG, Restarted.JOB_TIMEOUT, Restarted.FAULT)
_UNWANTED: Final = frozenset((*BY_ITSELF, *_FAULTS, Restarted.UNKNOWN))
_OF_DOOMS: Final[Mapping[Doom, Restarted]] = {
    Doom.NOT_READY: Restarted.NOT_READY,
    Doom.UNHEALTHY: Restarted.UNHEALTHY,
    Doom.WATCHDOG: Restarted.WATCHDOG,
    Doom.JOB_TIMEOUT: Restarted.JOB_TIMEOUT,
    Doom.MEMORY: Restarted.LIMIT_MEMORY,
    Doom.CPU: Restarted.LIMIT_CPU,
    Doom.PIDS: Restarted.LIMIT_PIDS,
    Doom.JOBS: Restarted.LIMIT_JOBS,
    Doom.AGE: Restarted.LIMIT_AGE,
}
_NOT_STARTED: Final = (Reason.NO_RESOURCES, Reason.BAD_COMMAND, Reason.REFUSED)
_ENDED: Final = (Reason.ENDED, Reason.CRASHED, Reason.FAULTY)

Restarts = Mapping[Restarted, int]


def unwanted(counts: Restarts) -> int:
    """How many of them nobody wanted."""
    return sum(number for reason, number in counts.items() if reason.unwanted)


def restarted(reason: Reason, end: End) -> Restarted:
    """What a spawn counts as that is planned for `reason`, in the place of one that ended so."""
    if reason in _NOT_STARTED:
        return Restarted.NOT_STARTED
    if reason in _ENDED:
        return (_doom(end.fault) or Restarted.FAULT) if end.fault else _outcome(end)
    if reason is Reason.CHANGED:
        return Restarted.CHANGED
    return _doom(end.limit) or Restarted.ASKED


def _doom(text: str) -> Restarted | None:
    """Of what somebody was told to leave for, in words: these begin with the `Doom`."""
    return next((found for doom, found in _OF_DOOMS.items() if text.startswith(doom)), None)


def _outcome(end: End) -> Restarted:
    match end.outcome:
        case ExitStatus(oom=True):
            return Restarted.MEMORY
        case ExitStatus(code) if code >= 0:
            return Restarted.FAILED if code else Restarted.COMPLETED
        case _:
            return Restarted.KILLED
