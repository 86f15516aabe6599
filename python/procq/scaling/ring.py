"""When the jobs came that wait now: how many had come by which time, instead of an age for each. Pure.

Jobs are counted, and taken in the order in which they came; so the job that starts as the n-th came when the count
of arrivals reached n. A source that only says how many wait is enough for that.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Ring:
    """Points (time, jobs that had come by then), both never falling. Few: what is old or close together is joined.

    Whoever pushes a time that is earlier than the last one calls `cut` first.
    """

    __slots__ = ("times", "totals")

    def __init__(self) -> None:
        self.times: list[float] = []
        self.totals: list[float] = []

    @property
    def total(self) -> float:
        """Jobs that have come by the last poll."""
        return self.totals[-1] if self.totals else 0.0

    def push(self, at: float, total: float, width: float) -> None:
        """Learns how many had come by `at`; points closer together than `width` seconds become one."""
        times, totals = self.times, self.totals
        index = len(totals) - 1
        while index >= 0 and totals[index] > total:
            totals[index] = total  # jobs that vanished without a start: deleted, or taken by somebody else
            index -= 1
        if len(times) >= 2 and at - times[-2] < width:
            times[-1], totals[-1] = at, total
        else:
            times.append(at)
            totals.append(total)

    def no_earlier(self, at: float, started: float) -> None:
        """Learns that what waits has come since `at`: before that only `started` jobs had come."""
        totals = self.totals
        for index in range(bisect_left(self.times, at)):
            if totals[index] <= started:
                continue
            totals[index] = started

    def by(self, at: float) -> float:
        """How many jobs had come by `at`."""
        times, totals = self.times, self.totals
        after = bisect_right(times, at)
        if after == 0:
            return 0.0
        if after == len(times):
            return totals[-1]
        part = (at - times[after - 1]) / (times[after] - times[after - 1])
        return totals[after - 1] + part * (totals[after] - totals[after - 1])

    def forget(self, started: float, before: float) -> None:
        """Drops what only concerns jobs that have started, and joins what lies before `before`."""
        times, totals = self.times, self.totals
        gone = max(0, bisect_right(totals, started) - 1)
        if gone:
            del times[:gone], totals[:gone]
        old = bisect_left(times, before) - 1
        if old > 1:
            del times[1:old], totals[1:old]

    def begun(self, at: float) -> float:
        """How many may have come by `at` at most: all those of a span that has begun."""
        after = bisect_left(self.times, at)
        return self.totals[min(after, len(self.totals) - 1)] if after else 0.0

    def cut(self, until: float) -> None:
        """Forgets what is known of times later than `until`."""
        last = bisect_right(self.times, until)
        del self.times[last:], self.totals[last:]

    def spans(self, started: float) -> Iterator[tuple[float, float, float]]:
        """For each span that still holds waiting jobs: its beginning, its end, and how many wait up to its end."""
        times, totals = self.times, self.totals
        for index in range(max(1, bisect_right(totals, started)), len(totals)):
            if totals[index] > totals[index - 1]:
                yield times[index - 1], times[index], totals[index] - started

    def clear(self) -> None:
        """Forgets all."""
        self.times.clear()
        self.totals.clear()
