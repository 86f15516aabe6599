"""What came out of a simulation of one queue."""

from __future__ import annotations

import bisect
from array import array
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Moment:
    """How it was at a time: for charts. `wait` is for how long the job had waited that was next.

    `workers` are those that are ready or on their way. `draining` are there besides: they finish what they have, or are
    to replace others.
    """

    at: float
    waiting: int
    workers: int
    busy: int
    wait: float
    draining: int


@dataclass(frozen=True)
class Result:
    """`waits` are those of the jobs that were started, rising; `left` how many still waited at the end, all late ones.

    `worker_seconds` are from asking for a worker until it is gone. `work` is what jobs took of workers that always have
    as many as they take at a time. `reversals` is how often more workers were followed by fewer or the other way round.
    `interrupted` are jobs that were not finished when their worker had to go.
    """

    wait: float
    waits: array[float]
    left: int
    worker_seconds: float
    work: float
    spawns: int
    reversals: int
    interrupted: int
    peak: int
    moments: tuple[Moment, ...] = ()

    @property
    def jobs(self) -> int:
        """How many are judged."""
        return len(self.waits) + self.left

    @cached_property
    def attained(self) -> float:
        """The share of jobs that began within the objective; 1.0 where there were none."""
        return bisect.bisect_right(self.waits, self.wait) / self.jobs if self.jobs else 1.0

    @property
    def ratio(self) -> float:
        """Worker hours for each hour of pure service."""
        return self.worker_seconds / self.work if self.work else 1.0

    def percentile(self, share: float) -> float:
        """The wait that so many jobs did not exceed, in seconds."""
        if not self.waits:
            return 0.0
        return self.waits[min(len(self.waits) - 1, int(share * self.jobs))]
