"""Jobs that are not due yet, as far as the source has told of them: when each is to find a worker. Pure.

A source only says how many will be due within some seconds. So of those that one look shows and the look before did
not, nobody knows more than between which two times they become due, and they are reckoned to be due at the first. But
while a worker is idle, none that has not begun is due.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from procq.scaling.ring import Ring
from procq.scaling.tuning import TICK

_SHORT: Final = 1.5 * TICK
"""Seconds: as long as a span may be that lies between two looks as they usually follow each other."""


class Announced:
    """What is known of one queue. Times are seconds on the clock of the polls."""

    __slots__ = ("_begun", "_idle_at", "_known", "_points", "_total", "soon")

    def __init__(self) -> None:
        self.soon = 0.0
        """Jobs that count by the last `look`, although they had not come yet by the last poll."""
        self._points = Ring()
        self._known = self._idle_at = 0.0
        self._total = self._begun = 0.0

    def told(self, at: float, total: float, soon: float, within: float) -> None:
        """The source has said at `at` that `soon` jobs will be due in `within` seconds, besides `total` until then."""
        points, before, until = self._points, self._known, at + within
        self._known, self._total = until, total
        if not soon:
            points.clear()
            return
        # Who is asked for a shorter time than before says nothing of what lies behind it.
        points.cut(until)
        if not points.times:
            # Until `before` the source has said that there are none.
            points.push(before if at <= before < until else at, total, 0.0)
        points.push(until, total + soon, 0.0)
        points.forget(total, at)

    def look(self, now: float, lead: float, started: float, is_idle: bool) -> None:
        """Counts those that may be due in `lead` seconds, but for those that were begun since the last poll.

        `is_idle`: there is a worker that would have begun one that is due.
        """
        if is_idle:
            self._idle_at = now
        due = self._points.begun(now) - self._total
        self._begun = max(0.0, min(started - self._total, due))
        self.soon = max(0.0, self._points.begun(now + lead) - self._total - self._begun)

    def line(self) -> Iterator[tuple[float, float]]:
        """For each span in which some of those become due that count: from when on, and how many up to its end."""
        for since, until, jobs in self._points.spans(self._total + self._begun):
            # In a short span it is the middle, as with jobs that are not announced.
            first = since if until - since <= _SHORT else max(since, self._idle_at)
            yield first + min(TICK, until - since) / 2, min(jobs, self.soon)
            if jobs >= self.soon:
                return
