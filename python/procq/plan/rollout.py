"""Rolling replacement: how the workers of a queue are replaced when what they run has changed. Pure, and no memory.

A worker is *old* when it was started with another fingerprint than the queue's, when somebody asked for a rolling
restart of its generation, or when it has reached a limit; else it is *new*. Each look finds out anew how far the
replacement has come: old ones that work on, slots on their way from an old worker to a new one ("in motion", at most a
batch of them), new ones that have arrived (were ready for the pause), and new ones that fail. While one of the latter
is there no more old ones are taken out, so that those that work go on working; but for those that use too much memory,
which cannot wait. Extra workers (the surge) are in the slots above the wanted ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import assert_never

from procq.endings import HEALTHY_AFTER, Doom, End, SpawnFailure
from procq.intent import DesiredQueue
from procq.model import WorkerId
from procq.plan.crew import extras, places
from procq.plan.dooms import doom_of
from procq.plan.readiness import since_ready, unready
from procq.plan.restarts import Rest, StartAgain, verdict
from procq.plan.waves import anew
from procq.state import (
    CALM,
    Backoff,
    Dead,
    Draining,
    Ended,
    Finished,
    QueueState,
    Resting,
    Running,
    Starting,
    Stopping,
    Streak,
    WorkerState,
)


class Standing(Enum):
    """What a slot is to a roll-out."""

    OLD = auto()
    """Its old worker works on."""
    LEAVING = auto()
    """Its worker is on its way out."""
    DUE = auto()
    """Its new worker starts with this look."""
    WAITING = auto()
    """Its new worker starts later, through no fault of its own."""
    COMING = auto()
    """Its new worker starts, or has not been ready for long enough."""
    FAILING = auto()
    """Its new worker failed, or failed before and has not yet shown that it is well."""
    ARRIVED = auto()
    """Its new worker works, or has done its work."""
    ASIDE = auto()
    """No part of it: stopped by hand, or held back until another queue runs."""


_IN_MOTION = frozenset((Standing.LEAVING, Standing.DUE, Standing.WAITING, Standing.COMING))
_MISSING = frozenset((Standing.LEAVING, Standing.DUE, Standing.COMING))
_THERE = frozenset((Standing.ARRIVED, Standing.ASIDE))


@dataclass(frozen=True, slots=True)
class RollOut:
    """Where the replacement of a queue's workers stands.

    `old` are the slots whose old workers work on, `take` those of them whose turn it is. `arrived` counts the wanted
    slots with new workers that work, `missing` those that lack one meanwhile. `failing` are the slots of new workers
    that fail. `halted`: old workers stay because new ones fail; of those that have merely reached a limit it is not
    told. `wake_at` is when time alone changes that.
    """

    old: tuple[int, ...]
    take: tuple[int, ...]
    arrived: int
    missing: int
    failing: tuple[int, ...]
    wake_at: float | None
    halted: bool = False


def surge(desired: DesiredQueue, room: int | None = None) -> int:
    """How many extra workers run during a roll-out: no more than there are wanted ones, nor than there is room for."""
    extra = min(desired.queue.update.surge.of(desired.workers), desired.workers)
    return extra if room is None else max(0, min(extra, room))


def batch(desired: DesiredQueue) -> int:
    """How many slots may be in motion at a time."""
    return max(1, desired.queue.update.batch.of(desired.workers))


def is_outdated(desired: DesiredQueue, slot: int, state: WorkerState) -> bool:
    """Whether the worker is not what the queue runs now, or somebody asked for another one."""
    return state.fingerprint != desired.fingerprint or desired.adjustment.roll.covers(slot, state.generation)


def is_old(desired: DesiredQueue, slot: int, state: WorkerState, now: float) -> bool:
    """Whether the worker is one that a roll-out replaces."""
    doomed = doom_of(desired, slot, state, now)
    return is_outdated(desired, slot, state) or (doomed is not None and not doomed.why.fault)


def survey(
    desired: DesiredQueue, observed: QueueState, now: float, held: bool = False, room: int | None = None
) -> RollOut:
    """Where the replacement stands; `held`: vacant slots are not to be filled yet. `room` is that for extra workers."""
    crew = places(desired, observed)
    beside = extras(desired, crew, surge(desired, room))
    of: dict[Standing, list[int]] = {standing: [] for standing in Standing}
    ready, wake_at = True, None
    for slot in (*crew, *beside):
        state = observed.workers.get(slot)
        standing, changes_at = _standing(desired, slot, state, observed.streaks.get(slot, CALM), now, held)
        if changes_at is not None:
            wake_at = changes_at if wake_at is None else min(wake_at, changes_at)
        if slot not in beside:
            of[standing].append(slot)
        else:
            ready = ready and standing in _THERE
            if standing is Standing.FAILING:
                of[standing].append(slot)
    old, failing = of[Standing.OLD], of[Standing.FAILING]
    moving = sum(len(of[standing]) for standing in _IN_MOTION)
    allowed = batch(desired) - moving
    turn = old if ready and not failing else _urgent(observed, old) if failing else []
    return RollOut(
        old=tuple(old),
        take=_turn(desired, observed, turn, allowed),
        arrived=len(of[Standing.ARRIVED]),
        missing=sum(len(of[standing]) for standing in _MISSING),
        failing=tuple(failing),
        wake_at=wake_at,
        halted=bool(failing) and any(is_outdated(desired, slot, observed.workers[slot]) for slot in old),
    )


def _urgent(observed: QueueState, old: list[int]) -> list[int]:
    """Those that a halt does not hold up."""
    states = ((slot, observed.workers[slot]) for slot in old)
    return [s for s, w in states if isinstance(w, Running) and w.doomed is not None and w.doomed.why is Doom.MEMORY]


def _turn(desired: DesiredQueue, observed: QueueState, old: list[int], allowed: int) -> tuple[int, ...]:
    """The old workers whose turn it is.

    First those that were told to take no more jobs, as many as may go; then those that are not ready, and all of them
    count as missing; then those that are at no job.
    """
    if allowed <= 0:
        return ()
    told = [slot for slot in old if _told(desired, slot, observed.workers[slot])]
    useless = [slot for slot in old if _useless(desired, observed.workers[slot]) and slot not in told]
    working = sorted(set(old) - {*told, *useless}, key=lambda slot: (_busy(observed, slot), slot))
    first = [*told, *useless]
    return tuple(sorted(first[:allowed] + working[: max(0, allowed - len(first))]))


def _told(desired: DesiredQueue, slot: int, state: WorkerState) -> bool:
    return isinstance(state, Running) and state.parked is not None and not desired.paused(slot)


def _busy(observed: QueueState, slot: int) -> bool:
    report = observed.reports.get(slot)
    return report is not None and not report.idle


def _useless(desired: DesiredQueue, state: WorkerState) -> bool:
    return isinstance(state, Starting | Running) and unready(desired, state)


def standing(desired: DesiredQueue, observed: QueueState, slot: int, now: float) -> Standing:
    """What `slot` is to a roll-out."""
    return _standing(desired, slot, observed.workers.get(slot), observed.streaks.get(slot, CALM), now, False)[0]


def _standing(
    desired: DesiredQueue, slot: int, state: WorkerState | None, streak: Streak, now: float, held: bool
) -> tuple[Standing, float | None]:
    """What the slot is, and when it becomes something else though nothing happens."""
    if desired.stopped(slot) or (held and anew(state)):
        return Standing.ASIDE, None
    match state:
        case None:
            return Standing.DUE, None
        case Starting() | Running():
            return _alive(desired, slot, state, streak, now)
        case Stopping():
            fails = bool(state.fault) and not is_outdated(desired, slot, state)
            return Standing.FAILING if fails else Standing.LEAVING, None
        case Draining(end=end):
            fails = streak.failed and not is_outdated(desired, slot, state) and (not end.asked or bool(end.fault))
            return Standing.FAILING if fails else Standing.LEAVING, None
        case Ended() | Backoff() | Finished():
            return _dead(desired, slot, state, streak, now), None
        case _:
            assert_never(state)


def _alive(
    desired: DesiredQueue, slot: int, state: Starting | Running, streak: Streak, now: float
) -> tuple[Standing, float | None]:
    if desired.adjustment.restart.covers(slot, state.generation):
        return Standing.LEAVING, None
    if isinstance(state, Running) and state.doomed is not None and state.doomed.why.fault:
        return (Standing.LEAVING if is_outdated(desired, slot, state) else Standing.FAILING), None
    if is_old(desired, slot, state, now):
        return Standing.OLD, None
    ready = since_ready(desired, state) if isinstance(state, Running) else None
    if streak.failed:
        healthy_at = None if ready is None else ready + HEALTHY_AFTER
        if healthy_at is None or healthy_at > now:
            return Standing.FAILING, healthy_at
    arrives_at = None if ready is None else ready + desired.queue.update.pause
    if arrives_at is None or arrives_at > now:
        return Standing.COMING, arrives_at
    return Standing.ARRIVED, None


def _dead(desired: DesiredQueue, slot: int, state: Dead, streak: Streak, now: float) -> Standing:
    match verdict(WorkerId(desired.queue.name, slot), desired, state, streak):
        case StartAgain(_, 0, _):
            return Standing.DUE
        case StartAgain() if streak.failed:
            return Standing.FAILING
        case StartAgain(at):
            return Standing.DUE if at <= now else Standing.WAITING
        case Rest(Resting.COMPLETED):
            return Standing.ARRIVED
        case Rest(Resting.STOPPED):
            return Standing.ASIDE
        case Rest():
            return Standing.FAILING


def halted(desired: DesiredQueue, observed: QueueState, found: RollOut, last_exit: str = "") -> str:
    """Why a roll-out does not go on, in words; `last_exit` is how the worker that fails ended, where it runs again."""
    worker = WorkerId(desired.queue.name, found.failing[0])
    match observed.workers.get(worker.slot):
        case Stopping(fault=fault) if fault:
            why = f"failed: {fault}"
        case Draining(end=end) | Ended(end=end) | Backoff(end=end) | Finished(end=end):
            why = _ended(end)
        case _:
            why = f"ended with {last_exit}" if last_exit else "failed"
    return f"roll-out halted after {found.arrived} of {desired.workers}: {worker} {why}"


def _ended(end: End) -> str:
    if end.fault:
        return f"failed: {end.fault}"
    return f"cannot start: {end.outcome}" if isinstance(end.outcome, SpawnFailure) else f"ended with {end.outcome}"
