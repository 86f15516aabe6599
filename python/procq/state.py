"""What runs: the observed state, one tagged union a slot, grouped by queue.

The life of a slot
------------------

::

    (vacant) ──► Starting ──► Running ──► Draining ──► Ended ──► Backoff ──► Starting …
                    │            │           ▲           │
                    └────────────┴► Stopping ┘           └─────► Finished

*Starting*: a spawn was requested; exec is not yet reported. *Running*: the program executes; once it is *ready*, others
may rely on it, and once it is *doomed*, another one has to take its place.
*Stopping*: we asked it to leave; its leader still lives.
*Draining*: the leader is gone, something of its tree is not.
*Ended*: nothing of it is left and the slot is free; the planner's next look decides what becomes of it.
*Backoff*: another worker takes the slot at `until`.
*Finished*: nothing takes the slot before somebody changes what is wanted.

Only the generation that occupies a slot can move it: whatever an older one still has to say is not heard.
A slot is used again only when vacant or from *Ended*, *Backoff*, *Finished*: never while anything of its last worker
lives.

All times are seconds on the monotonic clock. Nothing here reads a clock.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from os import strerror
from typing import Final

from procq.endings import Doomed, End
from procq.model import Health, LogLine, LogPolicy, Queue, Readiness, StopPolicy
from procq.text import count

_FORBIDDEN: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


class Resting(StrEnum):
    """Why nothing takes the slot of a worker that ended."""

    STOPPED = "stopped"
    COMPLETED = "completed"
    FAILED = "failed"
    GAVE_UP = "gave up"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker was started with and can be told again while it runs: the keeper, or who asks after its health.

    `memory` (bytes) and `pids` are the limits of its queue, for a cgroup of its own.
    """

    stop: StopPolicy
    logs: LogPolicy
    wave: int = 0
    ready: Readiness = Readiness()
    memory: int | None = None
    pids: int | None = None
    health: Health | None = None

    @classmethod
    def of(cls, queue: Queue) -> Settings:
        """The settings that `queue` asks for."""
        limits = queue.limits
        return cls(queue.stop, queue.logs, queue.wave, queue.ready, limits.memory, limits.pids, queue.health)

    @property
    def ready_line(self) -> str | None:
        """The pattern of the line of output that makes the worker ready."""
        return self.ready.check.pattern if isinstance(self.ready.check, LogLine) else None


@dataclass(frozen=True, slots=True)
class Starting:
    """Requested at `at`; exec is not yet reported. `settings` are None when unknown: learnt from a snapshot,
    which tells the `wave` alone.
    """

    generation: int
    fingerprint: str
    at: float
    settings: Settings | None
    wave: int = 0


@dataclass(frozen=True, slots=True)
class Running:
    """Executes since `at` under `pid`. `settings` are None when unknown: learnt from a snapshot,
    which tells the `wave` alone. `ready` is since when, None before. `found` is when this control plane found a worker
    that was there before it and not ready: whoever looks whether it is has to begin anew. `parked` is when it was told
    to take no more jobs, and `resumed` when to take some again: of the two the last one is there.
    """

    generation: int
    fingerprint: str
    pid: int
    at: float
    settings: Settings | None
    wave: int = 0
    ready: float | None = None
    doomed: Doomed | None = None
    found: float | None = None
    parked: float | None = None
    resumed: float | None = None


@dataclass(frozen=True, slots=True)
class Stopping:
    """Executes since `at` and was asked to leave; SIGKILL comes at `deadline`. `pid` is 0 before exec is reported.

    `fault`, `limit`, `ready` and `surplus` as in `End`. `stuck` says what SIGKILL does not end, and where in the
    kernel that hangs.
    """

    generation: int
    fingerprint: str
    pid: int
    at: float
    deadline: float
    reason: str
    wave: int = 0
    fault: str = ""
    stuck: str = ""
    ready: float | None = None
    limit: str = ""
    surplus: bool = False


@dataclass(frozen=True, slots=True)
class Draining:
    """The leader ended, or its spawn failed, as `end` says; something of it is still to be ended or reaped."""

    generation: int
    fingerprint: str
    end: End
    wave: int = 0
    stuck: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing of it is left; what becomes of the slot is not yet decided."""

    generation: int
    fingerprint: str
    end: End


@dataclass(frozen=True, slots=True)
class Backoff:
    """Another worker takes the slot at `until`, after the `attempt`-th failure in a row."""

    generation: int
    fingerprint: str
    end: End
    until: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing takes the slot until what is wanted changes."""

    generation: int
    fingerprint: str
    end: End
    why: Resting


Alive = Starting | Running | Stopping | Draining
"""Something of the worker is, or is about to be, there: the slot is taken."""
Dead = Ended | Backoff | Finished
"""Nothing of the worker is left: the slot is free, the keeper still has its record."""
WorkerState = Alive | Dead


@dataclass(frozen=True, slots=True)
class Streak:
    """Failures in a row of one slot: `crashes` of a program that executed, `misses` of spawns that lacked resources.

    `generation` is the last one counted, so that a snapshot that tells of the same end again does not count it twice.
    `failures` are the times of the last ends that were the program's fault, in a row or not; `failed` when the last
    one that was counted makes the next a suspect.
    """

    crashes: int = 0
    misses: int = 0
    generation: int = 0
    failed: bool = False
    failures: tuple[float, ...] = ()


CALM: Final = Streak()


class LogFailure(StrEnum):
    """What fails about a log file."""

    DATA = "data"
    """It takes no data."""
    ROTATION = "rotation"
    """It cannot be rotated, and goes on growing."""
    COMPRESSION = "compression"
    """A closed one cannot be compressed."""
    REMOVAL = "removal"
    """Closed ones that are too much cannot be removed."""


@dataclass(frozen=True, slots=True)
class LogTrouble:
    """Something about a log file fails (`errno`); `dropped` bytes were lost so far."""

    path: str
    errno: int
    dropped: int
    failure: LogFailure = LogFailure.DATA

    def __str__(self) -> str:
        """What is wrong, in words; that it is over where there is no `errno`."""
        return _log_words(self.path, self.failure, self.errno, self.dropped)


def _log_words(path: str, failure: LogFailure, number: int, dropped: int) -> str:
    why = strerror(number)
    match failure:
        case LogFailure.DATA if number:
            return f"{path} takes no data: {why}, {count(dropped, 'byte')} lost"
        case LogFailure.DATA:
            return f"{path} takes data again, {count(dropped, 'byte')} lost"
        case LogFailure.ROTATION if number:
            remedy = "; its directory must be writable" if number in _FORBIDDEN else ""
            return f"{path} cannot be rotated and goes on growing: {why}{remedy}"
        case LogFailure.ROTATION:
            return f"{path} is rotated again"
        case LogFailure.COMPRESSION if number:
            return f"closed files of {path} cannot be compressed and stay as they are: {why}"
        case LogFailure.COMPRESSION:
            return f"closed files of {path} are compressed again"
        case LogFailure.REMOVAL if number:
            return f"closed files of {path} that are too much cannot be removed: {why}"
        case LogFailure.REMOVAL:
            return f"closed files of {path} that are too much are removed again"


@dataclass(frozen=True, slots=True)
class Jobs:
    """How many jobs somebody has done since its start; None is what was not said.

    `jobs` are all that have finished; `failed` of them failed for good, `retried` are to be tried again. Together they
    took `seconds`; `took` counts them by how long, as `procq.worker.counting.BOUNDS` says.
    """

    jobs: int | None = None
    failed: int | None = None
    retried: int | None = None
    seconds: float | None = None
    took: tuple[int, ...] = ()


NO_JOBS: Final = Jobs()


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker last said of itself; None is what it has not said.

    `work` is what it has done, `busy` how many jobs it is at. `job` is one of them, by id and name, begun at `since`.
    `parked`: it takes no more jobs; None of one that cannot be told not to.
    """

    generation: int
    status: str = ""
    work: Jobs = NO_JOBS
    busy: int | None = None
    job: str = ""
    since: float | None = None
    parked: bool | None = None

    @property
    def idle(self) -> bool:
        """Whether it is at no job, as far as it has said."""
        return not self.busy


@dataclass(frozen=True, slots=True)
class QueueState:
    """The slots of one queue by number; vacant ones are absent. Readers must not keep the mappings over a change."""

    workers: Mapping[int, WorkerState] = field(default_factory=dict)
    streaks: Mapping[int, Streak] = field(default_factory=dict)
    trouble: Mapping[tuple[int, LogFailure], LogTrouble] = field(default_factory=dict)
    reports: Mapping[int, Report] = field(default_factory=dict)
    past: Jobs = NO_JOBS
    """What workers that are gone have done."""


EMPTY_QUEUE: Final = QueueState()


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything known about what runs, at `now`. `shutting_down` is a latch: nothing is started any more."""

    now: float = 0.0
    queues: Mapping[str, QueueState] = field(default_factory=dict)
    shutting_down: bool = False
