"""Who gets how many workers where the machine does not bear what all want. Pure.

First everybody gets what cannot be denied: its least, its workers that still start, and those at work that cannot be
told to take no more jobs. The rest goes by priority, the highest first; what those cannot use goes to the next. Among
queues of one priority it is weighted water-filling over what is scarce: the next worker goes to the queue whose share
of the resource that it takes most of, by its weight, is lowest. That is dominant resource fairness (Ghodsi et al.,
"Dominant Resource Fairness: Fair Allocation of Multiple Resource Types", NSDI 2011), in whole workers, rounded as
Webster and Sainte-Laguë did.

Against starvation: a queue that has nothing at all rises by one priority each minute, for its first worker alone. So
it gets one at some time, whoever is above it, and no more than that one is taken from those. Against swapping to and
fro: a worker that is there goes to another queue only where that one is more than half a worker behind. Against waste:
where workers fail again and again, one of them is tried in the turn of its queue, and more only on what is left by all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from math import inf
from types import MappingProxyType
from typing import Final

from procq.rules import Claim

AGING: Final = 60.0
"""Seconds of waiting for a first worker that are worth one priority."""
QUANTUM: Final = 60.0
"""Seconds for which a queue has workers that have started, or failed to, until it counts no longer as one that has
waited."""
_HALF: Final = 0.5
_ROUNDING: Final = 1e-9
_RESOURCES: Final = ("worker budget", "cpu budget", "memory budget")
_NOBODY: Final[Mapping[str, int]] = MappingProxyType({})

_Amount = tuple[float, float, float]
"""Workers, cores, bytes."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a queue would like. `held` are its live workers without those that drain, `busy` those of them that must
    not be taken: that are `starting`, or at a job and cannot be told that it is their last.

    A worker takes `memory` bytes and `cpus` cores; 0 where nobody knows. `waiting_since` is since when it has had
    nothing although it wants something, on the clock of `now` (see `Waits`). `least` counts up to `wanted` only.
    `at_work` are those of `held` that start or are at a job, whether they can be told or not. `failing`: its workers
    fail again and again, and none works.
    """

    queue: str
    wanted: int
    least: int
    held: int
    claim: Claim
    memory: int = 0
    cpus: float = 0.0
    waiting_since: float | None = None
    busy: int = 0
    starting: int = 0
    at_work: int = 0
    failing: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """How many workers a queue may have, never more than it wants. `short` is "" where all is well."""

    queue: str
    workers: int
    short: str


def share(
    wishes: Sequence[Wish],
    *,
    workers: int | None,
    cpus: float | None,
    memory: int | None,
    now: float,
) -> dict[str, Grant]:
    """What each queue gets of a budget of `workers`, `cpus` cores and `memory` bytes; None: without limit.

    That is what it comes to in the end: workers that leave do not count, or others would have to leave in their place
    (see `at_once`). Only what cannot be denied may exceed the budget. The order of `wishes` does not matter; no queue
    may come twice.
    """
    total = _total(workers, cpus, memory)
    left = _minus(total, _sum((wish, wish.wanted) for wish in wishes))
    if min(left) >= -_ROUNDING:
        return {wish.queue: Grant(wish.queue, wish.wanted, "") for wish in wishes}
    filling = _Filling(wishes, total)
    for entries in _by_class(wishes, now):
        filling.fill(entries)
    excess = _exceeding(wishes, filling.bases, total)
    return {wish.queue: _grant(wish, filling.granted[wish.queue], filling.lacks, excess) for wish in wishes}


def at_once(
    wishes: Sequence[Wish],
    grants: Mapping[str, Grant],
    *,
    workers: int | None,
    cpus: float | None,
    memory: int | None,
    draining: Mapping[str, int] = _NOBODY,
) -> dict[str, int]:
    """What of the grants can be done now, while those who have to give still hold: nobody starts in their place yet.

    Who gets fewer gives them at once; who gets more gets what is free, by priority, and its least in any case.
    `draining` are workers that end and count until then, also those of queues that want nothing any more.
    """
    left = _minus(
        _minus(_total(workers, cpus, memory), _of_draining(wishes, draining)),
        _sum((wish, max(wish.held, _base(wish))) for wish in wishes),
    )
    counts: dict[str, int] = {}
    for wish in sorted(wishes, key=lambda wish: (-wish.claim.priority, wish.queue)):
        granted, there = grants[wish.queue].workers, max(wish.held, _base(wish))
        more = min(max(0, granted - there), _fitting(_cost(wish), left))
        left = _minus(left, _times(_cost(wish), more))
        counts[wish.queue] = min(granted, there + more)
    return counts


class Waits:
    """Remembers since when queues have had nothing although they want something.

    It is forgotten a `QUANTUM` after a worker that a queue was given is there: until then it is not taken back for the
    reason that others wait too. One that has ended instead was there as well: a program that cannot start has its turn
    like others, and then waits again.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._served: dict[str, float] = {}
        self._there: set[str] = set()

    def look(self, wishes: Sequence[Wish], now: float) -> Mapping[str, float]:
        """Takes note of what queues want and have, and says for `Wish.waiting_since` since when. Seconds."""
        since: dict[str, float] = {}
        served: dict[str, float] = {}
        for wish in wishes:
            name, known = wish.queue, self._since.get(wish.queue)
            if not wish.wanted or (known is None and wish.held):
                continue
            ended = known is not None and name in self._there and not wish.held
            if wish.held > wish.starting or ended or name in self._served:
                begun = self._served.get(name, now)
                if now - begun >= QUANTUM:
                    continue
                served[name] = begun
            since[name] = now if known is None else known
        self._since, self._served = since, served
        self._there = {wish.queue for wish in wishes if wish.held}
        return since


# --- one priority after the other ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    """A queue gets up to `limit` workers here, `limit` being all that it wants or its first."""

    wish: Wish
    limit: int


def _by_class(wishes: Sequence[Wish], now: float) -> list[list[_Entry]]:
    classes: dict[tuple[bool, int], list[_Entry]] = {}
    for wish in wishes:
        priority = wish.claim.priority
        if wish.failing:
            classes.setdefault((True, priority), []).append(_Entry(wish, min(wish.wanted, 1)))
        classes.setdefault((not wish.failing, priority), []).append(_Entry(wish, wish.wanted))
        if wish.waiting_since is not None and _base(wish) == 0 < wish.wanted:
            steps = int(max(0.0, now - wish.waiting_since) // AGING)
            if steps:
                classes.setdefault((True, priority + steps), []).append(_Entry(wish, 1))
    return [classes[key] for key in sorted(classes, reverse=True)]


class _Filling:
    """What is left, and who has got what: `granted` by queue, `lacks` by queue what there was not enough of."""

    def __init__(self, wishes: Sequence[Wish], total: _Amount) -> None:
        self.bases = {wish.queue: _base(wish) for wish in wishes}
        self.granted = dict(self.bases)
        self.lacks: dict[str, str] = {}
        self._total = total
        self._left = _minus(total, _sum((wish, _base(wish)) for wish in wishes))

    def fill(self, entries: Iterable[_Entry]) -> None:
        """Gives worker by worker to who is furthest behind, as long as one fits."""
        granted, (left_workers, left_cpus, left_memory) = self.granted, self._left
        heap = [
            (_level(entry.wish, granted[entry.wish.queue], unit), _rank(entry.wish), unit, entry)
            for entry in entries
            if granted[entry.wish.queue] < entry.limit
            for unit in (self._unit(entry.wish),)
        ]
        heapify(heap)
        while heap:
            _, rank, unit, entry = heap[0]
            wish = entry.wish
            lack = _lack(wish, left_workers, left_cpus, left_memory)
            if lack:
                # Less and less is left: what does not fit now never will.
                self.lacks[wish.queue] = lack
                heappop(heap)
                continue
            left_workers, left_cpus, left_memory = left_workers - 1, left_cpus - wish.cpus, left_memory - wish.memory
            count = granted[wish.queue] = granted[wish.queue] + 1
            if count < entry.limit:
                heapreplace(heap, (_level(wish, count, unit), rank, unit, entry))
            else:
                heappop(heap)
        self._left = left_workers, left_cpus, left_memory

    def _unit(self, wish: Wish) -> float:
        """How much one worker raises the share of its queue, by its weight."""
        part = max(each / whole if whole else 0.0 for each, whole in zip(_cost(wish), self._total, strict=True))
        return (part or 1.0) / wish.claim.weight


def _level(wish: Wish, count: int, unit: float) -> float:
    """How far a queue with `count` workers is on the way to its next, which is half a one less where that is there."""
    return (count if count < wish.held else count + _HALF) * unit


def _rank(wish: Wish) -> tuple[float, str]:
    """Who comes first of equals: who has waited longest."""
    return inf if wish.waiting_since is None else wish.waiting_since, wish.queue


def _base(wish: Wish) -> int:
    """Workers that cannot be denied."""
    return min(wish.wanted, max(wish.least, min(wish.busy, wish.held)))


def _lack(wish: Wish, workers: float, cpus: float, memory: float) -> str:
    """What there is not enough of for one more worker; "" where it fits."""
    if workers < 1:
        return _RESOURCES[0]
    if wish.memory and wish.memory > memory:
        return _RESOURCES[2]
    return _RESOURCES[1] if wish.cpus and wish.cpus > cpus + _ROUNDING else ""


# --- what it comes to ------------------------------------------------------------------------------------------------


def _grant(wish: Wish, granted: int, lacks: Mapping[str, str], excess: Mapping[str, str]) -> Grant:
    if granted < wish.wanted:
        why = lacks[wish.queue] + ("; its workers fail, so that others come first" if wish.failing else "")
        return Grant(wish.queue, granted, f"wants {wish.wanted}, has {granted}: {why}")
    if granted and wish.queue in excess:
        what = f"its least, {granted}," if granted <= wish.least else f"{granted}, as many as are busy,"
        return Grant(wish.queue, granted, f"has {what} beyond the {excess[wish.queue]}")
    return Grant(wish.queue, granted, "")


def _exceeding(wishes: Sequence[Wish], bases: Mapping[str, int], total: _Amount) -> dict[str, str]:
    """Queues for which there is nothing left even of what they cannot be denied, and what it is that is not left."""
    excess: dict[str, str] = {}
    left = total
    for wish in sorted(wishes, key=lambda wish: (-wish.claim.priority, wish.queue)):
        cost = _times(_cost(wish), bases[wish.queue])
        left = _minus(left, cost)
        for name, rest, taken in zip(_RESOURCES, left, cost, strict=True):
            if taken and rest < -_ROUNDING:
                excess[wish.queue] = name
    return excess


def _total(workers: int | None, cpus: float | None, memory: int | None) -> _Amount:
    return inf if workers is None else workers, inf if cpus is None else cpus, inf if memory is None else memory


def _cost(wish: Wish) -> _Amount:
    return 1.0, wish.cpus, wish.memory


def _times(cost: _Amount, count: int) -> _Amount:
    return cost[0] * count, cost[1] * count, cost[2] * count


def _minus(left: _Amount, taken: _Amount) -> _Amount:
    return left[0] - taken[0], left[1] - taken[1], left[2] - taken[2]


def _sum(counts: Iterable[tuple[Wish, int]]) -> _Amount:
    workers, cpus, memory = 0, 0.0, 0
    for wish, count in counts:
        workers, cpus, memory = workers + count, cpus + count * wish.cpus, memory + count * wish.memory
    return workers, cpus, memory


def _of_draining(wishes: Iterable[Wish], draining: Mapping[str, int]) -> _Amount:
    if not draining:
        return 0, 0.0, 0
    _, cpus, memory = _sum((wish, draining.get(wish.queue, 0)) for wish in wishes)
    return sum(draining.values()), cpus, memory


def _fitting(cost: _Amount, left: _Amount) -> int:
    """How many workers fit into what is left; as many as anybody may want where nothing limits them."""
    fits = ((rest + _ROUNDING) // each for each, rest in zip(cost, left, strict=True) if each and rest != inf)
    return int(max(0, min(fits, default=1e9)))
