"""How fast workers are started, all queues together. Pure: the engine keeps one `Starts` from look to look.

It is a window and no bucket: a bucket that was full lets nearly twice as many through within one window. Restarts and
first starts are alike. Where more want to start than may, the queues take turns, so that a large one that begins keeps
no other one waiting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from procq.model import StartRate


@dataclass(frozen=True, slots=True)
class Starts:
    """The starts that still count: when, and how many at that time. `last` is the queue that was served last."""

    log: tuple[tuple[float, int], ...] = ()
    last: str = ""

    @classmethod
    def of(cls, times: Iterable[float]) -> Starts:
        """Of workers that were started at these times."""
        return cls(tuple((at, len(list(same))) for at, same in groupby(sorted(times))))

    def free(self, rate: StartRate, now: float) -> int:
        """How many may start at this moment."""
        return max(0, rate.number - sum(n for at, n in self.log if at + rate.within > now))

    def next_at(self, rate: StartRate, now: float) -> float:
        """When one more may start, where none may now."""
        counting = [(at, n) for at, n in self.log if at + rate.within > now]
        left = sum(n for _, n in counting)
        for at, n in counting:
            left -= n
            if left < rate.number:
                return at + rate.within
        return now

    def taken(self, rate: StartRate, now: float, number: int, last: str) -> Starts:
        """Once so many more have been started."""
        kept = tuple((at, n) for at, n in self.log if at + rate.within > now)
        return Starts((*kept, (now, number)) if number else kept, last)


NO_STARTS: Final = Starts()


def admit(wishes: Mapping[str, int], starts: Starts, rate: StartRate, now: float) -> tuple[Mapping[str, int], Starts]:
    """How many of the starts that each queue wishes may happen now, and what has happened then."""
    free, total = starts.free(rate, now), sum(wishes.values())
    if total <= free:
        return wishes, starts.taken(rate, now, total, starts.last)
    granted, last = _dealt(wishes, free, starts.last)
    return granted, starts.taken(rate, now, free, last)


def _dealt(wishes: Mapping[str, int], free: int, last: str) -> tuple[dict[str, int], str]:
    """Round by round, beginning after the queue that was served last."""
    names = sorted(wishes)
    waiting = [*(n for n in names if n > last), *(n for n in names if n <= last)]
    granted = dict.fromkeys(names, 0)
    while free and waiting:
        each = max(1, free // len(waiting))
        for name in waiting:
            more = min(each, wishes[name] - granted[name], free)
            granted[name] += more
            free -= more
            last = name if more else last
        waiting = [name for name in waiting if granted[name] < wishes[name]]
    return granted, last
