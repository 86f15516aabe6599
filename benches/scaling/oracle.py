"""What somebody could do who knows all jobs beforehand: bounds that no policy reaches."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from dataclasses import dataclass
from heapq import heappop, heappush

from procq.simulate.load import Load


@dataclass(frozen=True, slots=True)
class Bound:
    worker_seconds: float
    spawns: int
    late: int


def peak(load: Load) -> int:
    """The most jobs at the same time, if each began when it came."""
    ends: list[float] = []
    most = 0
    for at, takes in zip(load.arrivals, load.services, strict=True):
        while ends and ends[0] <= at:
            heappop(ends)
        heappush(ends, at + takes)
        most = max(most, len(ends))
    return math.ceil(most / load.concurrency)


def mean(load: Load) -> int:
    """Static: a third more than the mean of all work."""
    return max(1, math.ceil(1.3 * load.work / load.seconds / load.concurrency))


def clairvoyant(load: Load, boot: float) -> Bound:
    """Earliest deadline first, by somebody who knows the future: no job late, and few idle seconds.

    Jobs are taken in turn, which with one objective is by deadline. Each goes to the worker that becomes free last
    but in time; where that would idle for longer than a boot, or there is none, to a new one, which is ready when the
    job comes and begins it as late as may be. Greedy, so it is a bound from above of what is best, not the best.
    """
    free: list[float] = []
    paid, spawns, late = 0.0, 0, 0
    for came, takes in zip(load.arrivals, load.services, strict=True):
        deadline = came + load.wait
        found = bisect_right(free, deadline) - 1
        if found >= 0 and came - free[found] <= boot:
            at = max(came, free[found])
            paid += at - free.pop(found)
        else:
            spawns += 1
            paid += boot
            at = deadline
        paid += takes
        insort(free, at + takes)
        if len(free) > 4 * load.most:
            # Who has been idle for longer than a boot was stopped when it became so.
            del free[: bisect_right(free, came - boot)]
    return Bound(paid, spawns, late)
