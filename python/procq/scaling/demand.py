"""Whether the workers there are start every waiting job in time, and how many more it takes where not. Pure.

For every span of time in which jobs came that still wait: until when they must start, and how many starts the crew
will have made by then. A free place starts a job at once, a ready worker one in every service time (renewals), and a
worker on its way one when it is ready and then as the others.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from procq.scaling.tuning import TICK

_ENOUGH: Final = 0.05
"""Jobs that rounding may leave over."""
_MANY: Final = 1e9


@dataclass(frozen=True, slots=True)
class Shortfall:
    """`workers` more are needed: `jobs` are in line up to one that must start within `within` seconds.

    Without more workers it would start in `starts` seconds, which may be infinite.
    """

    workers: int = 0
    jobs: float = 0.0
    within: float = 0.0
    starts: float = 0.0


ENOUGH: Final = Shortfall()


class Crew:
    """What is there to start jobs.

    `free` places can take a job at once, of `places` altogether; `left` is how many seconds each worker on its way
    still needs, and `each` how many jobs it will take at a time. One place starts `pace` jobs a second.
    """

    __slots__ = ("_each", "_free", "_left", "_pace", "_places", "_sums")

    def __init__(self, free: float, places: float, left: Sequence[float], each: float, pace: float) -> None:
        self._free = free
        self._places = places
        self._left = sorted(left)
        self._sums = [0.0, *accumulate(self._left)]
        self._each = each
        self._pace = pace

    def starts(self, within: float) -> float:
        """How many jobs will have been started in so many seconds, if enough wait."""
        ready = bisect_right(self._left, within)
        joined = ready + self._pace * (ready * within - self._sums[ready])
        return self._free + self._places * self._pace * within + self._each * joined

    def more(self, jobs: float, within: float, boot: float) -> int:
        """How many workers, asked for now, start so many jobs."""
        return math.ceil(min(_MANY, jobs / (self._each * (1 + math.floor(self._pace * max(0.0, within - boot))))))

    def when(self, jobs: float) -> float:
        """Seconds until the last of so many jobs starts: for people, not for the decision."""
        if jobs <= self._free:
            return 0.0
        last = self._left[-1] if self._left else 0.0
        if self.starts(last) >= jobs:
            for left in self._left:
                if self.starts(left) >= jobs:
                    return left
        speed = self._pace * (self._places + self._each * len(self._left))
        return last + (jobs - self.starts(last)) / speed if speed > 0 else math.inf


def shortfall(
    buckets: Iterable[tuple[float, float]], crew: Crew, now: float, limit: float, boot: float, gathers: float
) -> Shortfall:
    """What it takes so that every job starts within `limit` seconds of its arrival.

    Before `boot` seconds a new worker cannot help, so a deadline that is nearer counts as that. Where no more workers
    would be needed a tick later, they are not started yet, so that jobs still to come share them: until `gathers`
    seconds before it would be too late. What is late already waits for nobody.
    """
    worst, jobs, within = 0, 0.0, 0.0
    for middle, line in buckets:
        due = middle + limit - now
        # What is late already is not worth a worker each: it is cleared in half the time, before those behind it.
        left = max(min(due, _MANY) if due >= 0 else limit / 2, boot)
        lacking = line - crew.starts(left)
        if lacking <= _ENOUGH or (workers := crew.more(lacking, left, boot)) <= worst:
            continue
        if due >= 0 and left - TICK > boot + gathers and crew.more(lacking, left - TICK, boot) <= workers:
            continue
        worst, jobs, within = workers, line, left
    return Shortfall(worst, jobs, within, crew.when(jobs)) if worst else ENOUGH
