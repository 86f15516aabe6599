"""How workers end: by what outcome, why they had to be replaced, and what of it counts as a failure.

All times are seconds on the monotonic clock. Nothing here reads a clock.
"""

from __future__ import annotations

import errno
import signal
from dataclasses import dataclass, replace
from enum import StrEnum
from os import strerror
from typing import Final

HEALTHY_AFTER: Final = 10.0
"""Seconds for which a worker has to be ready before earlier crashes of its slot no longer count."""


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


EARLIER_FAULT: Final = "a fault that was told before procq went on"
"""Of a worker whose fault a control plane has found that is no more."""


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
    it had reached, where it left for that. `surplus`: it left because its queue wants fewer. `ready` is since when it
    was ready, as far as that is known; `unready`: it is known that it never was.
    """

    outcome: Outcome
    began: float
    at: float
    asked: bool = False
    fault: str = ""
    ready: float | None = None
    unready: bool = False
    limit: str = ""
    surplus: bool = False

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
