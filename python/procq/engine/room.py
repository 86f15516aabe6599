"""How many extra workers each queue may have under the budget: what the engine keeps so as not to count all each time.

It decides nothing (`procq.plan.budget` says what counts), and all of it can be found out anew. Without a budget it does
nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from procq.intent import Intent
from procq.plan import QueuePlan
from procq.plan.budget import above, spare
from procq.plan.planner import spawned_above
from procq.plan.waves import Known


class Room:
    """`look` tells what is wanted and observed of a queue at the moment."""

    def __init__(self, look: Callable[[str], Known]) -> None:
        self._look = look
        self._intent: Intent | None = None
        self._spare: int | None = None
        self._above: dict[str, int] = {}
        self._total = 0
        self._short: set[str] = set()
        self._grown = False
        """Whether there is more room than at some look at a queue that had too little."""

    def prepare(self, intent: Intent) -> None:
        """Before queues are planned."""
        if intent is self._intent:
            return
        before, self._intent, self._spare = self._spare, intent, spare(intent)
        if self._spare is not None:
            self._above = {name: above(*self._look(name)) for name in (*intent.manifest.queues, *self._above)}
            self._total = sum(self._above.values())
        self._grown = self._spare is None or before is None or self._spare > before

    def left(self, name: str) -> int | None:
        """Extra workers that `name` may have; None: as many as it wants."""
        if self._spare is None:
            return None
        return self._spare - self._total + self._above.get(name, 0)

    def planned(self, name: str, planned: QueuePlan) -> None:
        """What a look at `name` has come to. Of its actions the starts are not yet recorded."""
        if planned.short:
            self._short.add(name)
        else:
            self._short.discard(name)
        if self._spare is not None:
            desired, observed = self._look(name)
            before, now = self._above.get(name, 0), above(desired, observed) + spawned_above(desired, planned)
            self._above[name] = now
            self._total += now - before
            self._grown = self._grown or now < before

    def freed(self) -> set[str]:
        """The queues that had too little room and may have more now."""
        found = set(self._short) if self._grown else set()
        self._grown = False
        return found

    def drop(self, name: str) -> None:
        """There is no such queue any more."""
        freed = self._above.pop(name, 0)
        self._total -= freed
        self._grown = self._grown or freed > 0
        self._short.discard(name)
