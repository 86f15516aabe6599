"""The planner: what to do so that what runs becomes what is wanted.

Pure and level-triggered: it looks at the whole queue each time, and what happened before does not matter.
Time is an argument. Nothing is asked for twice, since requests are part of what is observed from the moment they are
recorded. Slots fill from the lowest; a smaller count removes the highest and touches nobody else.
After the keeper began to shut down nothing is planned at all: it stops everything itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import assert_never

from procq.intent import DesiredQueue, Intent, desired_queue
from procq.model import StopPolicy, WorkerId
from procq.plan.actions import (
    NOTHING,
    Action,
    Configure,
    Delay,
    Forget,
    Plan,
    QueuePlan,
    Reason,
    Retire,
    Spawn,
    Stop,
)
from procq.plan.restarts import Rest, StartAgain, verdict
from procq.state import (
    CALM,
    EMPTY_QUEUE,
    Backoff,
    Dead,
    Draining,
    Ended,
    Finished,
    Observed,
    QueueState,
    Running,
    Starting,
    Stopping,
    WorkerState,
)


def plan(desired: Intent, observed: Observed) -> Plan:
    """What to do about all queues: those of the manifest in its order, then those it does not have any more."""
    if observed.shutting_down:
        return Plan()
    names = dict.fromkeys(chain(desired.manifest.queues, observed.queues))
    plans = [
        plan_queue(name, desired_queue(desired, name), observed.queues.get(name, EMPTY_QUEUE), observed.now)
        for name in names
    ]
    wakes = [p.wake_at for p in plans if p.wake_at is not None]
    return Plan(tuple(chain.from_iterable(p.actions for p in plans)), min(wakes, default=None))


def plan_queue(name: str, desired: DesiredQueue | None, observed: QueueState, now: float) -> QueuePlan:
    """What to do about one queue at `now`; `desired` is None for one that should not be."""
    if desired is None:
        return _remove(name, observed)
    look = _Look(desired, observed, now)
    workers, fingerprint, settings = observed.workers, desired.fingerprint, desired.settings
    for slot in range(1, desired.workers + 1):
        state = workers.get(slot)
        # The quick way for nearly all slots of nearly all looks; `look.slot` would find nothing to do either.
        settled = type(state) is Running and state.settings is settings and state.fingerprint == fingerprint
        if not (settled and look.hands_off):
            look.slot(slot, state)
    for slot in _surplus(observed, desired.workers):
        look.actions.extend(_take_out(WorkerId(name, slot), observed.workers[slot], Reason.SURPLUS))
    if not look.actions and look.wake_at is None:
        return NOTHING
    return QueuePlan(tuple(look.actions), look.wake_at)


@dataclass(slots=True)
class _Look:
    """One look at a queue: what is found out on the way from slot to slot."""

    desired: DesiredQueue
    observed: QueueState
    now: float
    actions: list[Action] = field(default_factory=list)
    wake_at: float | None = None
    hands_off: bool = True

    def __post_init__(self) -> None:
        adjustment = self.desired.adjustment
        self.hands_off = not (adjustment.stopped or adjustment.stopped_slots or adjustment.restart)

    def slot(self, slot: int, state: WorkerState | None) -> None:
        worker = WorkerId(self.desired.queue.name, slot)
        match state:
            case None:
                if not self.desired.stopped(slot):
                    self._spawn(worker, Reason.WANTED)
            case Starting() | Running():
                self._alive(worker, state)
            case Stopping() | Draining():
                pass
            case Ended() | Backoff() | Finished():
                self._dead(worker, state)
            case _:
                assert_never(state)

    def _spawn(self, worker: WorkerId, reason: Reason, attempt: int = 0) -> None:
        desired = self.desired
        self.actions.append(Spawn(worker, desired.queue, desired.fingerprint, desired.settings, reason, attempt))

    def _alive(self, worker: WorkerId, state: Starting | Running) -> None:
        if self.desired.stopped(worker.slot):
            self.actions.append(_stop(worker, state, Reason.STOPPED))
        elif state.fingerprint != self.desired.fingerprint:
            self.actions.append(_stop(worker, state, Reason.CHANGED))
        elif self.desired.adjustment.restart.covers(worker.slot, state.generation):
            self.actions.append(_stop(worker, state, Reason.ASKED))
        elif state.settings != self.desired.settings:
            reason = Reason.UNKNOWN_SETTINGS if state.settings is None else Reason.SETTINGS
            self.actions.append(Configure(worker, state.generation, self.desired.settings, reason))

    def _dead(self, worker: WorkerId, state: Dead) -> None:
        match verdict(worker, self.desired, state, self.observed.streaks.get(worker.slot, CALM)):
            case StartAgain(at, attempt, reason) if at <= self.now:
                self._spawn(worker, reason, attempt)
            case StartAgain(at, attempt, reason):
                self.wake_at = at if self.wake_at is None else min(self.wake_at, at)
                if not (isinstance(state, Backoff) and (state.until, state.attempt) == (at, attempt)):
                    self.actions.append(Delay(worker, state.generation, at, attempt, reason))
            case Rest(why, reason):
                if not (isinstance(state, Finished) and state.why is why):
                    self.actions.append(Retire(worker, state.generation, why, reason))


def _surplus(observed: QueueState, workers: int) -> list[int]:
    """Slots above the count, the highest first."""
    if len(observed.workers) <= workers and max(observed.workers, default=0) <= workers:
        return []
    return sorted((slot for slot in observed.workers if slot > workers), reverse=True)


def _remove(name: str, observed: QueueState) -> QueuePlan:
    slots = sorted(observed.workers, reverse=True)
    takes = (_take_out(WorkerId(name, slot), observed.workers[slot], Reason.REMOVED) for slot in slots)
    return QueuePlan(tuple(chain.from_iterable(takes)))


def _take_out(worker: WorkerId, state: WorkerState, reason: Reason) -> Iterator[Action]:
    match state:
        case Starting() | Running():
            yield _stop(worker, state, reason)
        case Stopping() | Draining():
            return
        case Ended() | Backoff() | Finished():
            yield Forget(worker, state.generation, reason)
        case _:
            assert_never(state)


def _stop(worker: WorkerId, state: Starting | Running, reason: Reason) -> Stop:
    policy = StopPolicy() if state.settings is None else state.settings.stop
    return Stop(worker, state.generation, policy.grace, reason)
