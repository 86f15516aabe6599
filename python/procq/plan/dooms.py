"""Which workers have to be replaced though nothing about their queue has changed. Pure.

Monitors condemn workers for faults and for limits that these have reached. Age is found here, from times alone: each
worker lives a bit shorter than its limit says, by a share that is always the same for the same generation, so that
those which were started together do not leave together.
"""

from __future__ import annotations

from typing import Final

from procq.endings import Doom, Doomed
from procq.intent import DesiredQueue
from procq.model import WorkerId
from procq.plan.spread import share
from procq.plan.wording import duration
from procq.state import Running, WorkerState

_SPREAD: Final = 0.1
"""By how much of it an age may be shorter than the limit."""


def youngest_end(age: float, state: Running) -> float:
    """No worker of a queue with this limit leaves before that for its age."""
    return state.at + age * (1.0 - _SPREAD)


def end_of_age(age: float, worker: WorkerId, state: Running) -> float:
    """When the worker has reached its age."""
    return state.at + age * (1.0 - _SPREAD * share(f"{worker}#{state.generation}"))


def doom_of(desired: DesiredQueue, slot: int, state: WorkerState, now: float) -> Doomed | None:
    """Why a worker has to be replaced, where it has."""
    if not isinstance(state, Running):
        return None
    age = desired.queue.limits.age
    if state.doomed is not None or age is None or now < youngest_end(age, state):
        return state.doomed
    end = end_of_age(age, WorkerId(desired.queue.name, slot), state)
    return Doomed(Doom.AGE, f"{duration(round(now - state.at))} of {duration(age)}", end) if end <= now else None
