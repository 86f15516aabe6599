"""The way out for one signal: a bounded queue and a thread that sends what is in it, however long that takes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from procq.telemetry.config import Batching

T = TypeVar("T")

Send = Callable[[Sequence[T]], bool]
"""Sends a batch; whether it arrived. May take as long as it likes."""

HEAVIEST_QUEUE: Final = 4 << 20
HEAVIEST_BATCH: Final = 1 << 20
"""Where records are weighed: a queue that weighs so much has no room, and a batch that does is sent as it is."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Records that never arrived: there was no room for them, or they were sent in vain."""

    overflowed: int = 0
    undelivered: int = 0

    def __add__(self, other: Lost) -> Lost:
        return Lost(self.overflowed + other.overflowed, self.undelivered + other.undelivered)


class Lane(Generic[T]):
    """Takes records from the control loop without ever waiting, and loses the oldest where there are too many.

    `changed` hears, in the thread that sends, when that begins to fail and when it works again; `taken` hears there
    that there is room again. Records may differ much in size: `weigh` says how much one of them weighs.
    """

    def __init__(
        self,
        name: str,
        send: Send[T],
        batching: Batching,
        changed: Callable[[bool], None],
        *,
        weigh: Callable[[T], int] = lambda _: 0,
        taken: Callable[[], None] = lambda: None,
    ) -> None:
        self._send = send
        self._batching = batching
        self._changed = changed
        self._weigh = weigh
        self._taken = taken
        self._waiting: deque[T] = deque()
        self._weight = 0
        self._news = threading.Condition()
        self._hurried = self._failing = self._sending = False
        self._overflowed = self._undelivered = 0
        # A daemon: whatever it waits for, it never keeps a control plane from leaving.
        threading.Thread(target=self._run, name=f"otlp-{name}", daemon=True).start()

    @property
    def lost(self) -> Lost:
        """How many so far."""
        return Lost(self._overflowed, self._undelivered)

    def put(self, record: T) -> None:
        """Hands over a record."""
        with self._news:
            while self._waiting and not self._has_room():
                self._weight -= self._weigh(self._waiting.popleft())
                self._overflowed += 1
            self._waiting.append(record)
            before, self._weight = self._weight, self._weight + self._weigh(record)
            if len(self._waiting) in (1, self._batching.batch) or before < HEAVIEST_BATCH <= self._weight:
                self._news.notify()

    @property
    def has_room(self) -> bool:
        """Whether another record costs none."""
        with self._news:
            return self._has_room()

    def _has_room(self) -> bool:
        return len(self._waiting) < self._batching.queue and self._weight < HEAVIEST_QUEUE

    def miss(self, records: int) -> None:
        """Counts records that were gone before they could be handed over."""
        with self._news:
            self._overflowed += records

    def hurry(self) -> None:
        """Nothing waits for company any more: the end is near."""
        with self._news:
            self._hurried = True
            self._news.notify()

    @property
    def idle(self) -> bool:
        """Whether nothing waits, and nothing is on its way."""
        with self._news:
            return not self._waiting and not self._sending

    def _run(self) -> None:
        while True:
            batch = self._next()
            self._taken()
            try:
                sent = self._send(batch)
            except Exception:
                # A fault of a library must cost these records and no more.
                sent = False
            if not sent:
                self._undelivered += len(batch)
            if sent is self._failing:
                self._failing = not sent
                self._changed(self._failing)

    def _next(self) -> list[T]:
        with self._news:
            self._sending = False
            self._news.wait_for(lambda: self._waiting)
            self._news.wait_for(lambda: self._hurried or self._fills_a_batch(), self._batching.delay)
            self._sending = True
            batch: list[T] = []
            weight = 0
            while self._waiting and len(batch) < self._batching.batch and weight < HEAVIEST_BATCH:
                batch.append(self._waiting.popleft())
                weight += self._weigh(batch[-1])
            self._weight -= weight
            return batch

    def _fills_a_batch(self) -> bool:
        return len(self._waiting) >= self._batching.batch or self._weight >= HEAVIEST_BATCH
