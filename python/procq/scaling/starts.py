"""How many jobs were started, where workers do not say so: a guess from how the queue got shorter. Pure."""

from __future__ import annotations

import math
from dataclasses import replace

from procq.scaling.signals import Poll, Signals


class Starts:
    """Counts up: at least what a queue got shorter by, and what its workers must have started by their speed."""

    __slots__ = ("_before", "count")

    def __init__(self) -> None:
        self.count = 0
        self._before: Poll | None = None

    def polled(self, poll: Poll, signals: Signals, service: float) -> Poll:
        """Takes an answer of the source, and returns it with the guess in it."""
        before, self._before = self._before, poll
        if before is not None:
            gone = max(0.0, before.waiting - poll.waiting)
            workers = signals.ready * max(1.0, signals.concurrency)
            seconds = max(0.0, poll.at - before.at)
            # While jobs wait no worker rests, so that it starts one in every service time.
            steady = workers * seconds / service if poll.waiting > 0 and math.isfinite(service) else 0.0
            self.count += int(min(max(gone, steady), 1e12))
        return replace(poll, started=self.count)
