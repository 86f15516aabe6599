"""Which queues wait for which, from one look to the next: what the engine keeps so as to look at the right ones again.

It decides nothing (`procq.plan.waves` does), and all of it can be found out anew.
"""

from __future__ import annotations

from collections.abc import Callable

from procq.plan.waves import Known, all_were_ready, asks_for, leaving, stops_later


class Order:
    """`look` tells what is wanted and observed of a queue at the moment."""

    def __init__(self, look: Callable[[str], Known]) -> None:
        self._look = look
        self._leaving: dict[str, int] = {}
        self._held: dict[str, tuple[str, ...]] = {}
        self._ready: dict[str, bool] = {}
        """Found out since the queue was last looked at: a thousand queues may wait for one with a thousand workers."""

    def prepare(self, dirty: set[str]) -> None:
        """Before queues are planned: adds those that were held back by one of them."""
        left = False
        for name in dirty:
            before, wave = self._leaving.get(name), leaving(*self._look(name))
            left = left or before != wave
            if wave is None:
                self._leaving.pop(name, None)
            else:
                self._leaving[name] = wave
        self._ready.clear()
        if self._held:
            held = self._held.items()
            dirty.update([name for name, others in held if (left and not others) or self._freed(others, dirty)])
            self._ready.clear()

    def _freed(self, others: tuple[str, ...], dirty: set[str]) -> bool:
        """Whether one of `others` has changed, and is none of those that hold back."""
        return any(other in dirty and self._was_ready(other) for other in others)

    def _was_ready(self, name: str) -> bool:
        known = self._ready.get(name)
        if known is None:
            known = self._ready[name] = all_were_ready(*self._look(name))
        return known

    def start_later(self, name: str) -> bool:
        """Whether the vacant slots of `name` have to wait."""
        desired, observed = self._look(name)
        return desired is not None and not all(map(self._was_ready, asks_for(desired, observed)))

    def stop_later(self, name: str) -> bool:
        """Whether the workers of `name`, which is leaving, have to wait."""
        return stops_later(self._leaving.get(name), self._leaving)

    def planned(self, name: str, held: bool) -> None:
        """What a look at `name` has come to."""
        self._ready.pop(name, None)
        if not held:
            self._held.pop(name, None)
            return
        desired, _ = self._look(name)
        # A queue that leaves waits for whoever leaves before it, whatever it is called.
        self._held[name] = () if desired is None or desired.adjustment.stopped else desired.queue.after
