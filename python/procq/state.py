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
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from os import strerror
from typing import Final

from procq.model import LogLine, LogPolicy, Queue, Readiness, StopPolicy
from procq.text import count

MOST_FAILURES: Final = 100
"""How many failures of a slot are remembered with their times."""
HEALTHY_AFTER: Final = 10.0
"""Seconds for which a worker has to be ready before earlier crashes of its slot no longer count."""
_FORBIDDEN: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


class Resting(StrEnum):
    """Why nothing takes the slot of a worker that ended."""

    STOPPED = "stopped"
    COMPLETED = "completed"
    FAILED = "failed"
    GAVE_UP = "gave up"


class Doom(StrEnum):
    """Why a worker that runs has to be replaced. The first four are faults, the others limits that it has reached."""

    NOT_READY = "not ready in time"
    UNHEALTHY = "unhealthy"
    WATCHDOG = "silent watchdog"
    JOB_TIMEOUT = "job timeout"
    MEMORY = "memory limit"
    CPU = "cpu limit"
    PIDS = "pids limit"
    JOBS = "jobs limit"
    AGE = "age limit"

    @property
    def fault(self) -> bool:
        """Whether it has failed: it is stopped at once, and its end counts as a failure."""
        return self in _FAULTS

    @property
    def urgency(self) -> int:
        """What is found on top of something else counts where this is higher: memory that grows does not wait."""
        return 2 if self.fault else int(self is Doom.MEMORY)


_FAULTS: Final = frozenset((Doom.NOT_READY, Doom.UNHEALTHY, Doom.WATCHDOG, Doom.JOB_TIMEOUT))


@dataclass(frozen=True, slots=True)
class Doomed:
    """Found at `at`: the worker has to be replaced, and `detail` says why with the numbers."""

    why: Doom
    detail: str
    at: float

    def __str__(self) -> str:
        return f"{self.why}: {self.detail}" if self.why.fault else f"{self.why}, {self.detail}"


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a leader ended: with an exit code, or by a signal (then `code` is minus its number).

    `oom`: the kernel killed a process of its tree because the tree had no memory left.
    """

    code: int
    oom: bool = False

    @property
    def success(self) -> bool:
        """Whether it ended by itself, with code 0."""
        return self.code == 0

    def __str__(self) -> str:
        if self.oom:
            return (
                "killed: out of memory"
                if self.code == -signal.SIGKILL
                else f"{replace(self, oom=False)}: out of memory"
            )
        if self.code >= 0:
            return f"exit code {self.code}"
        try:
            return signal.Signals(-self.code).name
        except ValueError:
            return f"signal {-self.code}"


_NEEDS_ROOT: Final = {
    "groups": "procq must run as root for `user:`",
    "user": "procq must run as root for `user:`",
    "nice": "procq must run as root for a niceness below its own",
    "limits": "procq must run as root to go above its own hard limit",
}


@dataclass(frozen=True, slots=True)
class SpawnFailure:
    """The program never executed: the step that failed, the error number, and what it failed on ("" for none).

    That is the path, the number of the user, or the name of the limit, in `path`.

    `transient` is a lack of resources that may pass, not a fault of the command.
    """

    stage: str
    errno: int
    path: str
    transient: bool

    def __str__(self) -> str:
        where = f' "{self.path}"' if self.path else ""
        match self.stage, self.errno:
            case "exec", errno.ENOENT if "/" not in self.path:
                return f"command{where} not found in the PATH of its environment"
            case "interpreter", _:
                return f"the interpreter that the first line of{where} names does not exist"
            case "exec", errno.ENOEXEC:
                return f"cannot execute{where}: neither a program nor a script with a #! line"
            case "exec", _:
                return f"cannot execute{where}: {strerror(self.errno)}"
            case "directory", _:
                return f"cannot enter the directory{where}: {strerror(self.errno)}"
        return self._surroundings() or f"cannot prepare it ({self.stage}){where}: {strerror(self.errno)}"

    def _surroundings(self) -> str:
        """Why it could not get what its queue asks for; empty for other stages."""
        user = f"user {self.path}" if self.path else "another user"
        what = {
            "groups": f"cannot become {user}",
            "user": f"cannot become {user}",
            "nice": "cannot set its niceness",
            "limits": f'cannot set the limit "{self.path}"',
            "terminal": "cannot give it a terminal",
            "cgroup": "cannot give it a control group",
        }.get(self.stage, "")
        if what and self.errno in (errno.EPERM, errno.EACCES) and self.stage in _NEEDS_ROOT:
            return f"{what}: not permitted; {_NEEDS_ROOT[self.stage]}"
        return what and f"{what}: {strerror(self.errno)}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The keeper did not carry out the command; `why` in its own words."""

    why: str

    def __str__(self) -> str:
        return f"refused: {self.why}"


Outcome = ExitStatus | SpawnFailure | Refusal


def ending(outcome: Outcome, asked: bool, fault: str = "", limit: str = "") -> str:
    """How a worker ended, in words: what it was told to leave for, where that says more than how it left."""
    if fault:
        return fault
    if limit:
        return f"recycled: {limit}"
    if outcome == ExitStatus(-signal.SIGKILL) and not asked:
        return "SIGKILL, sender unknown"
    return str(outcome)


@dataclass(frozen=True, slots=True)
class End:
    """How and when a worker ended; it executed, or was requested, at `began`; `asked` when we had told it to leave.

    `fault` says what we told it to leave for, where that was its own fault; else it is empty. `limit` says which limit
    it had reached, where it left for that. `ready` is since when it was ready, as far as that is known; `unready`: it
    is known that it never was.
    """

    outcome: Outcome
    began: float
    at: float
    asked: bool = False
    fault: str = ""
    ready: float | None = None
    unready: bool = False
    limit: str = ""

    def __str__(self) -> str:
        return ending(self.outcome, self.asked, self.fault, self.limit)

    @property
    def ran(self) -> float:
        """Seconds it lasted."""
        return self.at - self.began

    @property
    def well(self) -> float:
        """Seconds it was ready; all that it lasted, where nobody knows since when it was."""
        if self.unready:
            return 0.0
        return self.ran if self.ready is None else self.at - self.ready

    @property
    def failure(self) -> bool:
        """Whether that is the program's or its command's fault: nobody asked, and it failed, or ended too soon."""
        if self.fault:
            return True
        match self.outcome:
            case ExitStatus(code):
                return not self.asked and (code != 0 or self.ran < HEALTHY_AFTER)
            case SpawnFailure(transient=transient):
                return not self.asked and not transient
            case _:
                return False


@dataclass(frozen=True, slots=True)
class Settings:
    """What the keeper was told about a worker and can be told again while it runs.

    `memory` (bytes) and `pids` are the limits of its queue, for a cgroup of its own.
    """

    stop: StopPolicy
    logs: LogPolicy
    wave: int = 0
    ready: Readiness = Readiness()
    memory: int | None = None
    pids: int | None = None

    @classmethod
    def of(cls, queue: Queue) -> Settings:
        """The settings that `queue` asks for."""
        return cls(queue.stop, queue.logs, queue.wave, queue.ready, queue.limits.memory, queue.limits.pids)

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
    that was there before it and not ready: whoever looks whether it is has to begin anew.
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


@dataclass(frozen=True, slots=True)
class Stopping:
    """Executes since `at` and was asked to leave; SIGKILL comes at `deadline`. `pid` is 0 before exec is reported.

    `fault`, `limit` and `ready` as in `End`. `stuck` says what SIGKILL does not end, and where in the
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
class Report:
    """What a worker last said of itself on its notify socket; None is what it has not said.

    `jobs` and `failed` are totals since its start, `busy` how many jobs it is at. `job` is one of them, by id and name,
    begun at `since`.
    """

    generation: int
    status: str = ""
    jobs: int | None = None
    failed: int | None = None
    busy: int | None = None
    job: str = ""
    since: float | None = None


@dataclass(frozen=True, slots=True)
class QueueState:
    """The slots of one queue by number; vacant ones are absent. Readers must not keep the mappings over a change."""

    workers: Mapping[int, WorkerState] = field(default_factory=dict)
    streaks: Mapping[int, Streak] = field(default_factory=dict)
    trouble: Mapping[tuple[int, LogFailure], LogTrouble] = field(default_factory=dict)
    reports: Mapping[int, Report] = field(default_factory=dict)


EMPTY_QUEUE: Final = QueueState()


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything known about what runs, at `now`. `shutting_down` is a latch: nothing is started any more."""

    now: float = 0.0
    queues: Mapping[str, QueueState] = field(default_factory=dict)
    shutting_down: bool = False
