"""What one process has done and does, in the words of the worker protocol. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import zip_longest
from math import inf
from typing import Final, Protocol, TypeAlias

BOUNDS: Final = (*(factor * 10.0**power for power in range(-3, 4) for factor in (1, 2, 5)), 10_000.0)
"""Seconds up to which a job may take to be counted in each place of `X_PROCQ_TOOK`; one more is for what is longer."""
_LONGEST_LABEL: Final = 200


class Job(Protocol):
    """One job; `began` is in seconds."""

    id: str
    name: str
    began: float


Note: TypeAlias = tuple[Job, float | None, bool, bool]
"""That a job begins; or, with the time when it did, that it has ended: whether it failed, whether it is tried again.

Only the first end counts.
"""


class Counts:
    """The numbers of one process. Times are seconds, of whichever clock."""

    def __init__(self) -> None:
        self.jobs = self.failed = self.retried = 0
        self.running: dict[Job, None] = {}
        """In the order in which they began: the first one has taken longest."""
        self._seconds = 0.0
        self._took = [0] * (len(BOUNDS) + 1)
        self._longest = 0
        """The last place in use: what follows need not be said."""

    def take(self, note: Note) -> bool:
        """Counts what was noted; False where that was known."""
        job, ended, failed, retried = note
        if ended is None:
            self.running[job] = None
            return True
        if job not in self.running:
            return False
        del self.running[job]
        self.jobs += 1
        self.failed += failed
        self.retried += retried
        self._add(max(0.0, ended - job.began))
        return True

    def _add(self, took: float) -> None:
        self._seconds += took
        place = bisect_left(BOUNDS, took)
        self._took[place] += 1
        self._longest = max(self._longest, place)

    def busy(self, waiting: int) -> int:
        """How many jobs it has, those included that wait."""
        return len(self.running) + waiting

    def total(self, waiting: int, now: float) -> str:
        """All of it, at `now`; `waiting` are the jobs that it has taken and not begun."""
        took = ",".join(map(str, self._took[: self._longest + 1]))
        oldest = next(iter(self.running), None)
        # Not where a job begins: few are ever told of by their names.
        label, since = ("", now) if oldest is None else (label_of(oldest.id, oldest.name), oldest.began)
        return (
            f"X_PROCQ_JOBS={self.jobs}\nX_PROCQ_FAILED={self.failed}\nX_PROCQ_RETRIED={self.retried}\n"
            f"X_PROCQ_TOOK_USEC={int(self._seconds * 1e6)}\nX_PROCQ_TOOK={took}\n"
            f"X_PROCQ_BUSY={self.busy(waiting)}\nX_PROCQ_JOB={label}\n"
            f"X_PROCQ_JOB_USEC={int((now - since) * 1e6)}\nX_PROCQ_SCOPE=process\n"
        )


def label_of(id: str, name: str) -> str:
    """A job's id and name on one line, not too long."""
    text = f"{id} {name}" if name else id
    return " ".join(text[:_LONGEST_LABEL].split())


def quantile(took: Sequence[int], share: float) -> float | None:
    """Seconds that `share` of the jobs did not exceed, rounded up to a bound of the histogram; None of no jobs.

    Infinite where that is above the last bound.
    """
    rank, below = share * sum(took), 0
    for bound, number in zip_longest(BOUNDS, took):
        below += number or 0
        if below and below >= rank:
            return inf if bound is None else bound
    return None
