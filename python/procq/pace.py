"""How fast queues work: jobs a second, and how much of their workers' time jobs take, over the last minute. Pure.

Sums that only grow are remembered every few seconds while something happens. A rate is the difference between now and
a minute ago, when the sums are taken to have grown evenly from one memory to the next.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from procq.events import Event, Exited, Gone, Reported, Snapshot
from procq.model import WorkerId
from procq.state import Report

WINDOW: Final = 60.0
"""Seconds over which a rate is a mean; less where less is known."""
_STEP: Final = 2.0
"""Seconds between two memories."""
_SHORTEST: Final = 1.0
"""Seconds of which nothing is said yet."""


@dataclass(frozen=True, slots=True)
class Pace:
    """`throughput` in jobs a second, however they ended. `busy_share`: 1.0 is all workers at a job, all the time."""

    throughput: float | None = None
    busy_share: float | None = None


NO_PACE: Final = Pace()


@dataclass(frozen=True, slots=True)
class _Sums:
    """What has come together by `at`: jobs done, seconds of workers at a job, and of workers at all."""

    at: float
    jobs: float = 0.0
    busy: float = 0.0
    there: float = 0.0

    def since(self, then: _Sums) -> Pace:
        seconds = self.at - then.at
        if seconds < _SHORTEST:
            return NO_PACE
        there = self.there - then.there
        share = min(1.0, max(0.0, (self.busy - then.busy) / there)) if there > 0 else None
        return Pace((self.jobs - then.jobs) / seconds, share)

    def towards(self, other: _Sums, at: float) -> _Sums:
        """The sums at a time between the two."""
        part = (at - self.at) / (other.at - self.at)
        jobs, busy = (self.jobs + part * (other.jobs - self.jobs), self.busy + part * (other.busy - self.busy))
        return _Sums(at, jobs, busy, self.there + part * (other.there - self.there))


@dataclass(frozen=True, slots=True)
class _Worker:
    """`there` ends with its leader; what it has done may still be told after that."""

    generation: int
    jobs: int
    busy: bool
    there: bool = True


@dataclass(slots=True)
class _Queue:
    """The workers of one queue that have spoken, and its sums up to the last change."""

    last: _Sums
    workers: dict[int, _Worker] = field(default_factory=dict)
    busy: int = 0
    there: int = 0
    memories: list[_Sums] = field(default_factory=list)

    def change(self, slot: int, worker: _Worker | None, jobs: int, now: float) -> None:
        former = self.workers.pop(slot, None)
        now = max(now, self.last.at)
        if not self.memories or now - self.memories[-1].at >= _STEP:
            # Also how it was at the change before: nothing has happened in between, however long that was.
            self._remember(self.last)
            self._remember(self.until(now))
            self._forget(now - WINDOW)
        sums = self.until(now)
        self.last = _Sums(now, sums.jobs + jobs, sums.busy, sums.there)
        if former is not None:
            self.busy -= former.busy
            self.there -= former.there
        if worker is not None:
            self.busy += worker.busy
            self.there += worker.there
            self.workers[slot] = worker

    def until(self, now: float) -> _Sums:
        """The sums by now, when nothing has changed since the last change."""
        seconds = max(0.0, now - self.last.at)
        busy, there = self.last.busy + seconds * self.busy, self.last.there + seconds * self.there
        return _Sums(self.last.at + seconds, self.last.jobs, busy, there)

    def then(self, at: float) -> _Sums:
        """The sums at an earlier time; those that are remembered first, where that is later."""
        points = [*self.memories, self.last]
        after = bisect_right([point.at for point in points], at)
        if after == 0:
            return points[0]
        if after == len(points):
            return self.until(at)
        return points[after - 1].towards(points[after], at)

    def _remember(self, sums: _Sums) -> None:
        if not self.memories or sums.at > self.memories[-1].at:
            self.memories.append(sums)

    def _forget(self, before: float) -> None:
        del self.memories[: max(0, bisect_right([sums.at for sums in self.memories], before) - 1)]


class Paces:
    """All queues. It learns from events, in the order in which they come."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._knows_all = False

    def happened(self, events: Sequence[Event], now: float) -> None:
        """What has happened by `now`, in seconds on the clock of the engine."""
        for event in events:
            match event:
                case Reported(worker=worker, report=report):
                    self._reported(worker, report, now)
                case Exited(worker=worker, generation=generation):
                    self._left(worker, generation, now, gone=False)
                case Gone(worker=worker, generation=generation):
                    self._left(worker, generation, now, gone=True)
                case Snapshot():
                    self._found(event, now)

    def of(self, name: str, now: float) -> Pace:
        """How fast a queue works at `now`."""
        queue = self._queues.get(name)
        return NO_PACE if queue is None else queue.until(now).since(queue.then(now - WINDOW))

    def _reported(self, worker: WorkerId, report: Report, now: float) -> None:
        queue = self._queues.setdefault(worker.queue, _Queue(_Sums(now)))
        jobs, former = report.work.jobs or 0, queue.workers.get(worker.slot)
        if former is not None and former.generation > report.generation:
            return
        # What was there before us has done its jobs some time; of others we know from their beginning on.
        before, there = 0 if self._knows_all else jobs, True
        if former is not None and former.generation == report.generation:
            before, there = former.jobs, former.there
        heard = _Worker(report.generation, max(jobs, before), there and not report.idle, there)
        queue.change(worker.slot, heard, heard.jobs - before, now)

    def _left(self, worker: WorkerId, generation: int, now: float, gone: bool) -> None:
        queue = self._queues.get(worker.queue)
        known = None if queue is None else queue.workers.get(worker.slot)
        if queue is not None and known is not None and known.generation <= generation:
            left = None if gone else replace(known, busy=False, there=False)
            queue.change(worker.slot, left, 0, now)

    def _found(self, snapshot: Snapshot, now: float) -> None:
        self._knows_all = True
        there = {(worker, state.generation) for worker, state in snapshot.workers}
        for name, queue in self._queues.items():
            for slot, worker in list(queue.workers.items()):
                if (WorkerId(name, slot), worker.generation) not in there:
                    queue.change(slot, None, 0, now)
