"""What must be, according to what was done: a model of its own, that knows nothing of procq's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.chaos.ledger import Process

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Act:
    """Something that was done, from `began` to `ended`, to `queue` ("" for none, "*" for all)."""

    began: float
    ended: float
    what: str
    queue: str = ""

    def __str__(self) -> str:
        return f"{self.began:.3f} {self.what}"


@dataclass(slots=True)
class Model:
    """Counts of the manifest in force, what was said by hand, and whom we killed."""

    counts: dict[str, int]
    clock: Clock = time.monotonic
    overrides: dict[str, int] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    killed: dict[Process, float] = field(default_factory=dict)
    acts: list[Act] = field(default_factory=list)
    history: list[tuple[float, dict[str, int]]] = field(default_factory=list)

    def wanted(self) -> dict[str, int]:
        """How many workers each queue is to have."""
        return {
            queue: 0 if queue in self.stopped else self.overrides.get(queue, count)
            for queue, count in self.counts.items()
        }

    def remember(self) -> None:
        """What is wanted now belongs to the history."""
        self.history.append((self.clock(), self.wanted()))

    def most(self, queue: str, since: float, until: float) -> int:
        """The largest number that was wanted of a queue at any time between the two."""
        before = [wanted for at, wanted in self.history if at <= since][-1:]
        during = [wanted for at, wanted in self.history if since < at <= until]
        return max((wanted.get(queue, 0) for wanted in before + during), default=0)

    def touched(self, queue: str, since: float, until: float) -> bool:
        """Whether anything was done between the two for which workers of the queue may be asked to leave."""
        return any(act.queue in (queue, "*") and act.began <= until and act.ended >= since for act in self.acts)

    def new_life(self, counts: Mapping[str, int]) -> None:
        """Another keeper: what was said by hand is forgotten."""
        self.counts = dict(counts)
        self.overrides.clear()
        self.stopped.clear()
        self.remember()
