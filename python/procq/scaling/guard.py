"""What to do when the machine itself is under pressure: start nothing more, take workers away, open again slowly. Pure.

The thresholds are those of `procq.rules.Guard`. The kernel's pressure stall information says for how much of the last
ten seconds somebody has waited for a processor ("some"), and all have waited for memory ("full"); where it is missing,
the load and the memory that is available have to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from heapq import heapify, heappop, heapreplace
from math import ceil, inf
from typing import Final

from procq.rules import Guard
from procq.scaling.sharing import Wish

STEP: Final = 10.0
"""Seconds between two steps, down while it is red, and up while it opens."""
PART: Final = 0.1
"""How much of all workers a step is, but never less than one."""
CALM: Final = 30.0
"""Seconds of green until anything is started again."""
LOAD: Final = 2.0
"""Processes for each core that run or would like to, above which it is amber where the kernel tells no pressure."""


class Level(StrEnum):
    """How bad it is."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"


@dataclass(frozen=True, slots=True)
class Pressure:
    """Shares of the last ten seconds, of all memory, and processes for each core; None where that cannot be told."""

    cpu_some: float | None = None
    memory_full: float | None = None
    available: float | None = None
    load: float | None = None

    @property
    def blind(self) -> str:
        """What the guard cannot see, for people; "" where it sees all."""
        unseen = [name for name, seen in (("cpu", self.cpu_some), ("memory", self.memory_full)) if seen is None]
        if not unseen:
            return ""
        return (
            f"the kernel tells no pressure of {' and '.join(unseen)} (PSI): "
            "the guard goes by the memory that is available, and the load"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """`most` is how many workers there may be in all, None: no matter; without `allow_spawns` no more than there are.

    To start one anew that has ended by itself is not to start one more. `text` says why, and is "" when all is open.
    """

    level: Level
    text: str
    allow_spawns: bool
    most: int | None


OPEN: Final = Verdict(Level.GREEN, "", True, None)


def judge(pressure: Pressure, guard: Guard) -> tuple[Level, str]:
    """How bad it is at this moment, and what shows it."""
    full, available, some, load = pressure.memory_full, pressure.available, pressure.cpu_some, pressure.load
    if full is not None and full > guard.stalled:
        return Level.RED, f"all wait for memory for {full:.0%} of the time"
    if available is not None and available < guard.memory / 2:
        return Level.RED, f"{available:.1%} of the memory is available"
    if available is not None and available < guard.memory:
        return Level.AMBER, f"{available:.1%} of the memory is available"
    if some is not None and some > guard.cpu:
        return Level.AMBER, f"processes wait for a processor for {some:.0%} of the time"
    if some is None and load is not None and load > LOAD:
        return Level.AMBER, f"the load is {load:.1f} for each core"
    return Level.GREEN, ""


class Brake:
    """Remembers how bad it has been. Time is in seconds, on a clock that does not go back."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._closed = self._opening = False
        self._most: int | None = None
        self._calm_since = self._grown_at = 0.0
        self._calm = True
        self._shrunk_at = -inf

    def look(self, pressure: Pressure, workers: int, now: float) -> Verdict:
        """What follows from the pressure; `workers` are all that live, without those that drain."""
        level, text = judge(pressure, self._guard)
        if level is Level.GREEN:
            return self._reopen(workers, now) if self._closed else OPEN
        self._closed, self._calm, self._opening = True, False, False
        if level is Level.RED and now - self._shrunk_at >= STEP:
            there = workers if self._most is None else min(workers, self._most)
            self._most, self._shrunk_at = max(0, there - _part(there)), now
        return Verdict(level, f"{level}: {text}", False, self._most)

    def _reopen(self, workers: int, now: float) -> Verdict:
        if not self._calm:
            self._calm, self._calm_since = True, now
        calm = now - self._calm_since
        if calm < CALM:
            return Verdict(Level.GREEN, f"calm for {calm:.0f}s, opens after {CALM:.0f}s", False, self._most)
        if self._opening and now - self._grown_at >= STEP and (self._most is None or workers < self._most):
            # Nobody has wanted all of what the last step allowed.
            self._closed, self._opening, self._most = False, False, None
            return OPEN
        if not self._opening or now - self._grown_at >= STEP:
            self._opening, self._most, self._grown_at = True, workers + _part(workers), now
        return Verdict(Level.GREEN, f"opens: at most {self._most} workers for now", True, self._most)


def _part(workers: int) -> int:
    return max(1, ceil(workers * PART))


def shrink(wishes: Sequence[Wish], counts: Mapping[str, int], most: int, *, drain: bool) -> dict[str, int]:
    """Takes away from `counts` until there are `most` workers in all, or nothing is left that may be taken.

    First what is not there yet, then idle workers, then, with `drain`, those at work; each by priority, the lowest
    first, and of one priority from who has most for its weight. Never below the least of a queue.
    """
    left = dict(counts)
    floors: list[dict[str, int]] = [
        {wish.queue: max(wish.least, wish.held) for wish in wishes},
        {wish.queue: max(wish.least, min(wish.at_work, wish.held)) for wish in wishes},
    ]
    if drain:
        floors.append({wish.queue: wish.least for wish in wishes})
    classes: dict[int, list[Wish]] = {}
    for wish in wishes:
        classes.setdefault(wish.claim.priority, []).append(wish)
    excess = sum(left.values()) - most
    for floor in floors:
        for priority in sorted(classes):
            if excess <= 0:
                return left
            excess -= _take(classes[priority], left, floor, excess)
    return left


def _take(wishes: Iterable[Wish], left: dict[str, int], floor: Mapping[str, int], excess: int) -> int:
    """Takes up to `excess` workers from queues of one priority, and says how many it was."""
    heap = [
        (-left[wish.queue] / wish.claim.weight, wish.queue, wish.claim.weight)
        for wish in wishes
        if left.get(wish.queue, 0) > floor[wish.queue]
    ]
    heapify(heap)
    taken = 0
    while heap and taken < excess:
        _, queue, weight = heap[0]
        left[queue] -= 1
        taken += 1
        if left[queue] > floor[queue]:
            heapreplace(heap, (-left[queue] / weight, queue, weight))
        else:
            heappop(heap)
    return taken
