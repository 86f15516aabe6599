"""What a pretended worker does with its life."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from dataclasses import dataclass

from procq.endings import Doom, ExitStatus, SpawnFailure
from procq.model import WorkerId
from procq.state import Report


@dataclass(frozen=True, slots=True)
class Script:
    """The faults of one worker, written down before it starts. Times are seconds.

    It executes `boot` after its spawn, unless `start_error` says how that fails, runs for `run_for`, then ends with
    `exit_code`; `kill_after` has somebody outside kill it after so long. Asked to leave, it takes `leave_after`, or,
    with `ignore_term`, waits for SIGKILL. Its descendants outlive it by `linger`. It becomes ready, in the way that its
    queue asks for, when it has executed for `ready_after`; infinity is never.

    `says` are reports of itself, and `found` what looks at it find out: each after so many seconds of execution. Its
    health command ends with `probes`, one after the other, the last one again and again; None is one that is killed for
    its time. SIGKILL ends it `unkillable_for` seconds late.

    Where a `job` takes so many seconds it says what it does: one job after the other, with a `rest` between them, until
    it is told to take no more. One that is `deaf` says that it could be told, and does not listen.
    """

    run_for: float = math.inf
    exit_code: int = 0
    start_error: SpawnFailure | None = None
    ignore_term: bool = False
    kill_after: float = math.inf
    boot: float = 0.002
    leave_after: float = 0.01
    linger: float = 0.0
    ready_after: float = 0.0
    says: tuple[tuple[float, Report], ...] = ()
    found: tuple[tuple[float, Doom, str], ...] = ()
    probes: tuple[ExitStatus | SpawnFailure | None, ...] = (ExitStatus(0),)
    unkillable_for: float = 0.0
    job: float | None = None
    rest: float = 0.0
    deaf: bool = False


Casting = Callable[[WorkerId, int], Script]
"""Which script a worker of this generation plays."""

NOT_FOUND = SpawnFailure("exec", 2, "no-such-program", transient=False)
"""A `start_error`: there is no such command."""
TOO_MANY_PROCESSES = SpawnFailure("clone", 11, "", transient=True)
"""A `start_error`: the system lacks resources at the moment."""


def everyone(script: Script) -> Casting:
    """All workers play the same."""
    return lambda _worker, _generation: script


def runs(*, boot: float = 0.0, leaves_after: float = 0.01, ready_after: float = 0.0) -> Script:
    """Executes `boot` seconds after its start, and runs until it is asked to leave.

    Then it leaves after `leaves_after` seconds, in which it finishes a job, say. It says `READY=1`, writes the line or
    opens the port that its queue waits for, `ready_after` seconds after it began to execute.
    """
    return Script(boot=boot, leave_after=leaves_after, ready_after=ready_after)


def works(job: float, *, rest: float = 0.0, deaf: bool = False) -> Script:
    """Does one job after the other, each in so many seconds with a `rest` in between, and says so.

    Told to take no more jobs it finishes the one that it is at; one that is `deaf` does not listen.
    """
    return Script(boot=0.0, job=job, rest=rest, deaf=deaf)


def never_ready() -> Script:
    """Executes, and never does what its queue waits for."""
    return Script(boot=0.0, ready_after=math.inf)


def exits(code: int = 0, *, after: float = 0.0) -> Script:
    """Ends by itself with an exit code, `after` so many seconds of execution."""
    return Script(boot=0.0, run_for=after, exit_code=code)


def crashes(by: int = signal.SIGSEGV, *, after: float = 0.0) -> Script:
    """Is ended by a signal, `after` so many seconds of execution."""
    return Script(boot=0.0, run_for=after, exit_code=-by)


def hangs(*, linger: float = 0.0) -> Script:
    """Does not leave when it is asked to: it is killed at the end of its grace period.

    What it has started lives on for `linger` seconds.
    """
    return Script(boot=0.0, ignore_term=True, linger=linger)


def reaches(why: Doom, detail: str = "", *, after: float = 0.0) -> Script:
    """Runs, and is found to have failed or to have reached a limit, `after` so many seconds of execution."""
    return Script(boot=0.0, found=((after, why, detail),))


def unkillable(seconds: float = math.inf) -> Script:
    """Leaves neither when it is asked to nor when it is killed, until so many `seconds` later: its disk is away."""
    return Script(boot=0.0, ignore_term=True, unkillable_for=seconds)


def cannot_start(why: SpawnFailure = NOT_FOUND) -> Script:
    """Cannot be executed: there is no such command, unless `why` says something else."""
    return Script(boot=0.0, start_error=why)
