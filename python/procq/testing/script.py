"""What a pretended worker does with its life."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from procq.model import WorkerId
from procq.state import SpawnFailure


@dataclass(frozen=True, slots=True)
class Script:
    """The faults of one worker, written down before it starts. Times are seconds.

    It executes `boot` after its spawn, unless `start_error` says how that fails, runs for `run_for`, then ends with
    `exit_code`; `kill_after` has somebody outside kill it after so long. Asked to leave, it takes `leave_after`, or,
    with `ignore_term`, waits for SIGKILL. Its descendants outlive it by `linger`.
    """

    run_for: float = math.inf
    exit_code: int = 0
    start_error: SpawnFailure | None = None
    ignore_term: bool = False
    kill_after: float = math.inf
    boot: float = 0.002
    leave_after: float = 0.01
    linger: float = 0.0


Casting = Callable[[WorkerId, int], Script]
"""Which script a worker of this generation plays."""

NOT_FOUND = SpawnFailure("exec", 2, "no-such-program", transient=False)
"""A `start_error`: there is no such command."""
TOO_MANY_PROCESSES = SpawnFailure("clone", 11, "", transient=True)
"""A `start_error`: the system lacks resources at the moment."""


def everyone(script: Script) -> Casting:
    """All workers play the same."""
    return lambda _worker, _generation: script
