"""Start and stop waves: which queue waits for which. Pure.

A queue `after` another one starts the first workers of its slots once the worker of every wanted slot of the other one
has been ready. One that was ready and crashes holds nobody, nor does one that has done its work, nor a slot that a
person stopped; one that ended before it was ready does. Only vacant slots are held, and those that a person had
stopped: what has run is restarted whatever becomes of the other queue.

Queues that leave (removed from the manifest, or stopped as a whole by a person) leave in the reverse order: one is
asked only when no worker of a leaving queue with a higher wave is alive. One that cannot be killed holds nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from procq.endings import ExitStatus
from procq.intent import DesiredQueue
from procq.model import Spawned
from procq.plan.crew import places
from procq.plan.readiness import unready
from procq.state import (
    EMPTY_QUEUE,
    Backoff,
    Draining,
    Ended,
    Finished,
    QueueState,
    Resting,
    Running,
    Starting,
    Stopping,
    WorkerState,
)

Known = tuple[DesiredQueue | None, QueueState]
"""What is wanted of a queue, None for one that should not be, and what is observed of it."""
NO_SUCH: Final[Known] = (None, EMPTY_QUEUE)
"""Of a queue that nobody has heard of."""


def waits_for(desired: DesiredQueue, observed: QueueState, look: Callable[[str], Known]) -> tuple[str, ...]:
    """The queues that hold back this one; none where no slot of it begins anew. `look` tells of the others."""
    return tuple(name for name in asks_for(desired, observed) if not all_were_ready(*look(name)))


def asks_for(desired: DesiredQueue, observed: QueueState) -> tuple[str, ...]:
    """The queues that have to be ready before this one goes on; none where no slot of it begins anew."""
    after = desired.queue.after
    return after if after and not desired.adjustment.stopped and _vacant(desired, observed) else ()


def leaving(desired: DesiredQueue | None, observed: QueueState) -> int | None:
    """The wave in which a queue leaves; None for one that does not, or has left."""
    if desired is not None and not desired.adjustment.stopped:
        return None
    alive = [
        w
        for w in observed.workers.values()
        if isinstance(w, Starting | Running) or (isinstance(w, Stopping | Draining) and not w.stuck)
    ]
    if not alive:
        return None
    return desired.queue.wave if desired is not None else max(map(_wave, alive))


def stops_later(wave: int | None, all_leaving: Mapping[str, int]) -> bool:
    """Whether a queue that leaves in `wave` has to wait for another one."""
    return wave is not None and wave < max(all_leaving.values(), default=0)


def _vacant(desired: DesiredQueue, observed: QueueState) -> bool:
    slots = places(desired, observed)
    return any(anew(observed.workers.get(slot)) and not desired.stopped(slot) for slot in slots)


def anew(state: WorkerState | None) -> bool:
    """Whether a worker in this slot begins anew: there was none, or somebody had stopped it."""
    return state is None or (isinstance(state, Finished) and state.why is Resting.STOPPED)


def all_were_ready(desired: DesiredQueue | None, observed: QueueState) -> bool:
    """Whether a queue holds back none of those that come after it."""
    if desired is None or desired.adjustment.stopped:
        return True
    workers = observed.workers
    slots = places(desired, observed)
    return all(_was_ready(desired, workers.get(slot)) or desired.stopped(slot) for slot in slots)


def _was_ready(desired: DesiredQueue, state: WorkerState | None) -> bool:
    if anew(state):
        return False
    at_once = isinstance(desired.queue.ready.check, Spawned)
    match state:
        case Running():
            return not unready(desired, state)
        case Stopping(pid=pid, ready=ready):
            return ready is not None or (at_once and pid != 0)
        case Finished(why=Resting.COMPLETED):
            return True
        case Draining(end=end) | Ended(end=end) | Backoff(end=end) | Finished(end=end):
            return isinstance(end.outcome, ExitStatus) and (at_once or end.ready is not None)
        case _:
            return False


def _wave(state: WorkerState) -> int:
    match state:
        case Starting(settings=settings, wave=wave) | Running(settings=settings, wave=wave):
            return wave if settings is None else settings.wave
        case Stopping(wave=wave) | Draining(wave=wave):
            return wave
        case _:
            return 0
