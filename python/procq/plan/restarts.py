"""What becomes of the slot of a worker that ended. Pure: the same slot and the same wishes give the same verdict.

The first restart is immediate; later ones wait `initial`, doubling up to `maximum`. A wait is shortened by up to a
quarter, by a hash of worker and attempt, so that workers that fell together do not rise together, at the cap either.
A spawn that lacked resources has a short scale of its own. A command that cannot be executed waits the maximum:
another manifest, `procq start` and `procq restart` try it again at once; it is never given up. They also try again what
was given up, because it failed as often in as short a time as `give_up` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, assert_never

from procq.endings import End, ExitStatus, Refusal, SpawnFailure
from procq.intent import DesiredQueue
from procq.model import Backoff, GiveUp, RestartWhen, WorkerId
from procq.plan.actions import Reason
from procq.plan.spread import share
from procq.state import CALM, Dead, Resting, Streak

SCARCE: Final = Backoff(initial=0.05, maximum=1.0)
"""For spawns that failed for a lack of resources: those come back soon, and nothing is wrong with the program."""
_JITTER: Final = 0.25
_MOST_DOUBLINGS: Final = 60


@dataclass(frozen=True, slots=True)
class StartAgain:
    """A worker takes the slot at `at`; a time that has passed means now. `attempt` 0: nothing failed."""

    at: float
    attempt: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing takes the slot."""

    why: Resting
    reason: Reason


Verdict = StartAgain | Rest


def verdict(worker: WorkerId, desired: DesiredQueue, dead: Dead, streak: Streak = CALM) -> Verdict:
    """What becomes of the slot of `dead`, which is one that the queue wants."""
    adjustment = desired.adjustment
    if desired.stopped(worker.slot):
        return Rest(Resting.STOPPED, Reason.STOPPED)
    if dead.fingerprint != desired.fingerprint:
        return StartAgain(dead.end.at, 0, Reason.CHANGED)
    marked = (mark.covers(worker.slot, dead.generation) for mark in (adjustment.restart, adjustment.roll))
    if any(marked) or adjustment.retry.covers(worker.slot, dead.end.at):
        return StartAgain(dead.end.at, 0, Reason.ASKED)
    if dead.end.asked and not dead.end.fault:
        return StartAgain(dead.end.at, 0, Reason.WANTED)
    return _after_end(worker, desired, dead, streak)


def _after_end(worker: WorkerId, desired: DesiredQueue, dead: Dead, streak: Streak) -> Verdict:
    restart = desired.queue.restart
    outcome = dead.end.outcome
    done = restart.when is RestartWhen.NEVER or (restart.when is RestartWhen.ON_FAILURE and _success(dead.end))
    if not done and _too_often(restart.give_up, dead.end, streak):
        return Rest(Resting.GAVE_UP, Reason.GAVE_UP)
    match outcome:
        case SpawnFailure(transient=True):
            wait = delay(SCARCE, worker, streak.misses + 1)
            return StartAgain(dead.end.at + wait, streak.misses, Reason.NO_RESOURCES)
        case Refusal():
            wait = delay(SCARCE, worker, streak.misses + 1)
            return StartAgain(dead.end.at + wait, streak.misses, Reason.REFUSED)
        case SpawnFailure():
            if restart.when is RestartWhen.NEVER:
                return Rest(Resting.FAILED, Reason.BAD_COMMAND)
            wait = jittered(restart.backoff.maximum, worker, dead.generation)
            return StartAgain(dead.end.at + wait, 1, Reason.BAD_COMMAND)
        case ExitStatus():
            if done:
                return Rest(Resting.COMPLETED if _success(dead.end) else Resting.FAILED, Reason.COMPLETED)
            attempt = streak.crashes
            reason = Reason.FAULTY if dead.end.fault else Reason.ENDED if attempt <= 1 else Reason.CRASHED
            return StartAgain(dead.end.at + delay(restart.backoff, worker, attempt), attempt, reason)
        case _:
            assert_never(outcome)


def _success(end: End) -> bool:
    return isinstance(end.outcome, ExitStatus) and end.outcome.success and not end.fault


def _too_often(give_up: GiveUp | None, end: End, streak: Streak) -> bool:
    """Counted back from the end itself and not from now: what is given up stays so."""
    if give_up is None or not end.failure or isinstance(end.outcome, SpawnFailure):
        return False
    return sum(end.at - at < give_up.within for at in streak.failures) >= give_up.failures


def delay(backoff: Backoff, worker: WorkerId, attempt: int) -> float:
    """Seconds to wait after the `attempt`-th failure in a row: none after the first."""
    if attempt <= 1:
        return 0.0
    doubled = backoff.initial * 2.0 ** min(attempt - 2, _MOST_DOUBLINGS)
    return jittered(min(doubled, backoff.maximum), worker, attempt)


def jittered(wait: float, worker: WorkerId, attempt: int) -> float:
    """`wait`, shortened by up to a quarter; always the same for the same worker and attempt."""
    return wait * (1.0 - _JITTER * share(f"{worker}#{attempt}"))
