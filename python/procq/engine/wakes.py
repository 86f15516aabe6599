"""Which queue has to be looked at when, though nothing happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush

_ROOM = 64
"""Times that were replaced and may wait in the heap until they come up, besides as many as there are queues."""


@dataclass(slots=True)
class Wakes:
    """One time a queue; setting another one replaces it."""

    _heap: list[tuple[float, str]] = field(default_factory=list)
    _at: dict[str, float] = field(default_factory=dict)

    def set(self, queue: str, at: float | None) -> None:
        """Look at `queue` at `at`; None: no need."""
        if at is None:
            self._at.pop(queue, None)
        elif self._at.get(queue) != at:
            self._at[queue] = at
            heappush(self._heap, (at, queue))
            if len(self._heap) > 2 * len(self._at) + _ROOM:
                self._heap = sorted((at, queue) for queue, at in self._at.items())

    def sooner(self, queue: str, at: float) -> None:
        """Look at `queue` at `at` at the latest."""
        self.set(queue, min(at, self._at.get(queue, at)))

    @property
    def next(self) -> float | None:
        """The earliest time of all."""
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[str]:
        """Takes out the queues whose time has come."""
        queues = []
        while (at := self.next) is not None and at <= now:
            _, queue = heappop(self._heap)
            del self._at[queue]
            queues.append(queue)
        return queues
