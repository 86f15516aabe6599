"""Which slots a queue wants, and who goes when it wants fewer. Pure, and no memory.

The wanted slots are the lowest ones, and of workers that do not speak the highest leave: everybody can foretell who.
Of workers that say what they do, and can be told to take no more jobs, those leave that are idle. Then a lower slot
becomes vacant, and a higher one is wanted in its place for as long as its worker lives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from procq.intent import DesiredQueue
from procq.state import Draining, Ended, Finished, QueueState, Report, Running, Starting, Stopping, WorkerState


def speaks(state: WorkerState | None, report: Report | None) -> bool:
    """Whether a worker says what it does, and can be told to take no more jobs."""
    if not isinstance(state, Running) or report is None or report.generation != state.generation:
        return False
    return report.parked is not None


def places(desired: DesiredQueue, observed: QueueState) -> Sequence[int]:
    """The slots that the queue wants, in order: as many as it wants workers."""
    lowest = range(1, desired.workers + 1)
    workers = observed.workers
    if max(workers, default=0) <= desired.workers:
        return lowest
    free = [slot for slot in lowest if _given_up(desired, slot, workers.get(slot))]
    stay = [slot for slot in sorted(workers) if slot > desired.workers and _stays(desired, observed, slot)]
    exchanged = min(len(free), len(stay))
    if not exchanged:
        return lowest
    # Rather where somebody is on his way out than where nobody was.
    left = set(sorted(free, key=lambda slot: (workers.get(slot) is None, -slot))[:exchanged])
    return [*(slot for slot in lowest if slot not in left), *stay[:exchanged]]


def is_wanted(desired: DesiredQueue | None, observed: QueueState, slot: int) -> bool:
    """Whether a worker is to be in this slot."""
    return desired is not None and slot in places(desired, observed)


def unusable(desired: DesiredQueue, observed: QueueState) -> set[int]:
    """Slots in which nobody will work whatever the queue wants: stopped or paused by hand, or rested for good."""
    adjustment = desired.adjustment
    rests = {slot for slot, state in observed.workers.items() if isinstance(state, Finished)}
    return {*adjustment.stopped_slots, *adjustment.paused_slots, *rests}


def slots_for(workers: int, without: Iterable[int], most: int) -> int:
    """How many slots it takes to have so many workers, when nobody works in those of `without`; at most `most`."""
    slots = workers
    for slot in sorted(without) if workers else ():
        slots += slot <= slots
    return min(slots, most)


def extras(desired: DesiredQueue, crew: Sequence[int], number: int) -> list[int]:
    """The slots of so many workers more than are wanted."""
    found: list[int] = []
    slot, taken = desired.workers, set(crew)
    while len(found) < number:
        slot += 1
        if slot not in taken:
            found.append(slot)
    return found


def leavers(desired: DesiredQueue, observed: QueueState, crew: Sequence[int], surplus: Iterable[int]) -> list[int]:
    """Who goes, the first first: as many as work in the slots of `surplus`, and what is dead there anyway.

    Those that were told before, then the idle ones; of equal ones the highest.
    """
    workers, reports = observed.workers, observed.reports
    alive = [slot for slot in surplus if isinstance(workers[slot], Starting | Running)]
    choice = bool(alive) and _of_one_kind(desired, observed)
    others = [slot for slot in crew if _may_go(desired, observed, slot)] if choice else []
    going = alive
    if others:
        told = {slot for slot in (*alive, *others) if _told(workers[slot])}
        busy = {slot for slot in (*alive, *others) if slot in reports and not reports[slot].idle}
        ranked = sorted((*alive, *others), key=lambda slot: (slot not in told, slot in busy, -slot))
        going = sorted(ranked[: len(alive)], reverse=True)
    return [*going, *(slot for slot in surplus if not isinstance(workers[slot], Starting | Running))]


def _of_one_kind(desired: DesiredQueue, observed: QueueState) -> bool:
    """Whether nobody is of an earlier command: those go anyway."""
    return all(state.fingerprint == desired.fingerprint for state in observed.workers.values())


def _told(state: WorkerState) -> bool:
    return isinstance(state, Running) and state.parked is not None


def _given_up(desired: DesiredQueue, slot: int, state: WorkerState | None) -> bool:
    """Whether nobody is to work in this slot, if there is one elsewhere: the one who did has left for good."""
    if desired.stopped(slot):
        return False
    match state:
        case None:
            return True
        case Stopping(surplus=surplus):
            return surplus
        case Draining(end=end) | Ended(end=end):
            return end.surplus
        case _:
            return False


def _stays(desired: DesiredQueue, observed: QueueState, slot: int) -> bool:
    """Whether the worker of a slot above the count may be one of the wanted ones."""
    state = observed.workers[slot]
    told = _told(state) and not desired.paused(slot)
    return not told and _may_go(desired, observed, slot)


def _may_go(desired: DesiredQueue, observed: QueueState, slot: int) -> bool:
    """Whether it may be the one that goes, or that stays: it speaks, and nothing else is to become of it."""
    state = observed.workers.get(slot)
    if not isinstance(state, Running) or not speaks(state, observed.reports.get(slot)):
        return False
    adjustment = desired.adjustment
    marked = (marks.covers(slot, state.generation) for marks in (adjustment.restart, adjustment.roll))
    current = state.fingerprint == desired.fingerprint and not any(marked)
    return current and state.doomed is None and not desired.stopped(slot)
