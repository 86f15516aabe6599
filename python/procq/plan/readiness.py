"""Since when a worker is ready, what is awaited of one that is not, and when that is too late. Pure.

Most of it comes from outside: the keeper hears `READY=1` and sees lines of output, the control plane connects to ports
and URLs. What execution and time alone make ready is found out here, and so is who has waited for too long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, assert_never

from procq.endings import Doom
from procq.intent import DesiredQueue
from procq.model import After, Health, HttpCheck, LogLine, Notify, Readiness, Spawned, TcpCheck, WorkerId, filled_in
from procq.plan.wording import duration
from procq.state import Running, Starting

SLOWEST_START: Final = 30.0
"""Seconds that a spawn may take at the least until the program executes: a disk may be slow."""


@dataclass(frozen=True, slots=True)
class Due:
    """Time alone makes the worker ready at `at`."""

    at: float


@dataclass(frozen=True, slots=True)
class Deadline:
    """A worker that is not ready, or does not execute, at `at` has failed; `fault` says what it was waited for."""

    at: float
    fault: str


def since_ready(desired: DesiredQueue, state: Running) -> float | None:
    """Since when the worker is ready; None where it is not, or not yet marked."""
    if state.ready is None and (own := expected(desired, state)) is not None and isinstance(own.check, Spawned):
        return state.at
    return state.ready


def unready(desired: DesiredQueue, state: Starting | Running) -> bool:
    """Whether it is known that nobody may rely on the worker yet."""
    if isinstance(state, Starting):
        return True
    return expected(desired, state) is not None and since_ready(desired, state) is None


def outlook(desired: DesiredQueue, worker: WorkerId, state: Starting | Running) -> Due | Deadline | None:
    """What time alone will do to a worker that is not ready; None for one that is, or that nobody can judge.

    That is one of another program, started before this control plane: what it promised is not known any more.
    """
    readiness = expected(desired, state)
    if isinstance(state, Starting):
        patience = slowest_start(desired)
        return Deadline(state.at + patience, _fault(f"it did not execute within {duration(patience)}"))
    if readiness is None or state.ready is not None:
        return None
    match readiness.check:
        case Spawned():
            return Due(state.at)
        case After(seconds):
            return Due(state.at + seconds)
        case _:
            what = f"waited {duration(readiness.timeout)} for {awaited(readiness, worker)}"
            return Deadline(max(state.at, state.found or state.at) + readiness.timeout, _fault(what))


def slowest_start(desired: DesiredQueue) -> float:
    """Seconds that a worker may take from the request until it executes."""
    return max(SLOWEST_START, desired.queue.ready.timeout)


def awaited(readiness: Readiness, worker: WorkerId) -> str:
    """What makes a worker ready, in words that complete "waits for …"."""
    match readiness.check:
        case Spawned():
            return "its start"
        case Notify():
            return "READY=1 on its notify socket"
        case LogLine(pattern):
            return f'a line that matches "{pattern}"'
        case After(seconds):
            return f"{duration(seconds)} of execution"
        case TcpCheck(port):
            return f"port {port} to accept connections"
        case HttpCheck(url):
            return f"a good answer from {filled_in(url, worker)}"
        case _:
            assert_never(readiness.check)


def expected(desired: DesiredQueue, state: Starting | Running) -> Readiness | None:
    """What the worker itself is asked for: a program that is to be replaced is held to what it was started with."""
    if state.fingerprint == desired.fingerprint:
        return desired.queue.ready
    return None if state.settings is None else state.settings.ready


def health_of(desired: DesiredQueue, state: Running) -> Health | None:
    """How the worker is asked whether it is well: one that is to be replaced has not promised what the next one has."""
    if state.fingerprint == desired.fingerprint:
        return desired.queue.health
    return None if state.settings is None else state.settings.health


def _fault(detail: str) -> str:
    return f"{Doom.NOT_READY}: {detail}"
