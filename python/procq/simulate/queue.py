"""One queue with its workers, in virtual time."""

from __future__ import annotations

import math
import random
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from typing import Final

from procq.scaling.signals import Poll, Signals
from procq.simulate.load import Load
from procq.simulate.result import Moment, Result

_FAILURES: Final = 3
"""Polls in a row that fail until what the source said is old."""
_SPREAD: Final = 0.3
"""Sigma of the logarithm of boot times: one in twenty takes 1.6 times as long as usual."""


@dataclass(frozen=True, slots=True)
class Boots:
    """How long workers take to become ready: log-normal, with this mean in seconds."""

    mean: float

    def draw(self, dice: random.Random) -> float:
        """One boot."""
        return self.mean * math.exp(_SPREAD * dice.gauss(0.0, 1.0) - _SPREAD * _SPREAD / 2)


class Leave(Enum):
    """Who goes where a queue has more workers than it is to have."""

    IDLE = auto()
    """Only who is idle."""
    BETWEEN_JOBS = auto()
    """Who is idle, and then others when they have done the jobs that they have: what workers do that can be parked."""
    AT_ONCE = auto()
    """Who is idle, and then others in the middle of their jobs: what workers do that cannot be parked."""
    YOUNGEST = auto()
    """The youngest, whatever they do."""


class _State(IntEnum):
    STARTING = 0
    READY = 1
    DRAINING = 2
    GONE = 3


class Worker:
    """`jobs` is how many it has in hand; `replaces` leaves when this one is ready."""

    __slots__ = ("jobs", "replaces", "since", "state")

    def __init__(self, since: float, replaces: Worker | None = None) -> None:
        self.since = since
        self.state = _State.STARTING
        self.jobs = 0
        self.replaces = replaces


@dataclass(slots=True)
class Job:
    """When it came (again), what it takes, how often it has failed, and since when somebody works on it."""

    came: float
    takes: float
    failed: int = 0
    began: float = 0.0


Later = Callable[[float, Callable[[float], None]], None]
"""Has a function called at a time, with that time."""


class Queue:
    """Jobs first in, first out; workers that have free places take them in turn, as brokers hand jobs out."""

    def __init__(self, load: Load, boots: Boots, least: int, seed: int, ages: bool, later: Later) -> None:
        self.load, self.boots, self.least = load, boots, least
        self._dice = random.Random(f"{load.name}:{seed}:queue")
        self._later = later
        self._ages = ages
        self._next = 0
        self.waiting: deque[Job] = deque()
        self._free: deque[Worker] = deque()
        self._starting: dict[Worker, None] = {}
        self._ready: dict[Worker, None] = {}
        self._idle = 0
        self._draining = 0
        self._replacing = 0
        self._jobs = 0
        self._began = 0.0
        self._started = self._finished = 0
        self._took = 0.0
        self._boots: list[float] = []
        self._poll: Poll | None = None
        self._failed = 0
        self._waits: array[float] = array("d")
        self._paid = self._work = 0.0
        self._spawns = self._reversals = self._direction = self._interrupted = self._peak = 0
        self._moments: list[Moment] = []
        self.refused = False
        if load.arrivals:
            later(load.arrivals[0], self._arrive)
        for at in load.rollouts:
            later(at, self._roll_out)

    @property
    def live(self) -> int:
        """Workers that are ready or on their way."""
        return len(self._ready) + len(self._starting)

    def _arrive(self, now: float) -> None:
        index = self._next
        self._next = index + 1
        arrivals = self.load.arrivals
        if self._next < len(arrivals):
            self._later(arrivals[self._next], self._arrive)
        self._take(Job(now, self.load.services[index]), now)

    def _take(self, job: Job, now: float) -> None:
        worker = self._place() if not self.waiting else None
        if worker is None:
            self.waiting.append(job)
        else:
            self._start(job, worker, now)

    def _place(self) -> Worker | None:
        free = self._free
        while free:
            worker = free.popleft()
            if worker.state is _State.READY:
                return worker
        return None

    def _start(self, job: Job, worker: Worker, now: float) -> None:
        if not worker.jobs:
            self._idle -= 1
        worker.jobs += 1
        self._jobs += 1
        self._began += now
        self._started += 1
        self._waits.append(now - job.came)
        job.began = now
        self._later(now + job.takes, lambda at: self._end(job, worker, at))

    def _end(self, job: Job, worker: Worker, now: float) -> None:
        if worker.state is _State.GONE:
            return
        worker.jobs -= 1
        self._jobs -= 1
        self._began -= job.began
        self._finished += 1
        self._took += job.takes
        self._work += job.takes
        self._retry(job, now)
        if worker.state is _State.READY:
            if not worker.jobs:
                self._idle += 1
            self._offer(worker, now)
        elif not worker.jobs:
            self._draining -= 1
            self._gone(worker, now)

    def _retry(self, job: Job, now: float) -> None:
        failures = self.load.failures
        if failures is None or not failures.since <= job.began < failures.until:
            return
        if job.failed + 1 < failures.attempts and self._dice.random() < failures.probability:
            again = Job(now + failures.pause * 2.0**job.failed, job.takes, job.failed + 1)
            self._later(again.came, lambda at: self._take(again, at))

    def _offer(self, worker: Worker, now: float) -> None:
        if self.waiting:
            self._start(self.waiting.popleft(), worker, now)
        else:
            self._free.append(worker)

    def scale(self, target: int, now: float, leave: Leave, grace: float) -> None:
        """Starts or stops workers, as far as that may be.

        Where the youngest leave, what is at work has `grace` seconds to finish.
        """
        before = self.live
        if target > before:
            for _ in range(target - before):
                self._spawn(now, None)
        elif target < before and leave is Leave.YOUNGEST:
            self._stop_young(before - target, now, grace)
        elif target < before:
            self._stop_idle(before - target, now)
            if leave is not Leave.IDLE:
                self._take_busy(self.live - target, now, leave is Leave.AT_ONCE)
        direction = (self.live > before) - (self.live < before)
        if direction and self._direction and direction != self._direction:
            self._reversals += 1
        self._direction = direction or self._direction
        self._peak = max(self._peak, self.live)

    def _spawn(self, now: float, replaces: Worker | None) -> None:
        worker = Worker(now, replaces)
        self._spawns += 1
        self._paid -= now
        if replaces is None:
            self._starting[worker] = None
        else:
            self._replacing += 1
        self._later(now + self.boots.draw(self._dice), lambda at: self._came_up(worker, at))

    def _came_up(self, worker: Worker, now: float) -> None:
        if worker.state is not _State.STARTING:
            return
        if worker.replaces is None:
            del self._starting[worker]
        else:
            self._replacing -= 1
            if worker.replaces.state is not _State.READY:
                self._gone(worker, now)
                return
            self._drain(worker.replaces, now)
        self._boots.append(now - worker.since)
        worker.state = _State.READY
        self._ready[worker] = None
        self._idle += 1
        for _ in range(self.load.concurrency):
            self._offer(worker, now)

    def _drain(self, worker: Worker, now: float) -> None:
        del self._ready[worker]
        if worker.jobs:
            worker.state = _State.DRAINING
            self._draining += 1
        else:
            self._idle -= 1
            self._gone(worker, now)

    def _gone(self, worker: Worker, now: float) -> None:
        worker.state = _State.GONE
        self._paid += now

    def _stop_idle(self, count: int, now: float) -> None:
        if self._idle:
            for worker in [each for each in self._ready if not each.jobs][-count:]:
                self._drain(worker, now)

    def _take_busy(self, count: int, now: float, interrupts: bool) -> None:
        """They take no more jobs, and go when they have done what they have; if it `interrupts` they lose that."""
        for worker in [each for each in self._ready if each.jobs][::-1][: max(0, count)]:
            self._drain(worker, now)
            if interrupts:
                self._kill(worker)

    def _stop_young(self, count: int, now: float, grace: float) -> None:
        for worker in list(self._starting)[::-1][:count]:
            del self._starting[worker]
            self._gone(worker, now)
            count -= 1
        for worker in list(self._ready)[::-1][:count]:
            self._drain(worker, now)
            if worker.state is _State.DRAINING and math.isfinite(grace):
                self._later(now + grace, lambda at, worker=worker: self._kill(worker))  # type: ignore[misc]

    def _kill(self, worker: Worker) -> None:
        """What it has in hand is lost to it; that it is done again costs as much as if it went on, so it goes on."""
        if worker.state is _State.DRAINING:
            self._interrupted += worker.jobs

    def _roll_out(self, now: float) -> None:
        """A quarter at a time, each replaced when the new one is ready."""
        workers = list(self._ready)
        size = max(1, -(-len(workers) // 4))
        for start in range(0, len(workers), size):
            batch = workers[start : start + size]
            at = now + (start // size) * (1.5 * self.boots.mean + 1.0)
            self._later(at, lambda at, batch=batch: self._replace(batch, at))  # type: ignore[misc]

    def _replace(self, batch: list[Worker], now: float) -> None:
        for worker in batch:
            if worker.state is _State.READY:
                self._spawn(now, worker)

    def poll(self, now: float) -> None:
        """Asks the source."""
        if self.load.silent(now):
            self._failed += 1
            return
        self._failed = 0
        due = self.load.due
        soon = bisect_right(due, now + self.boots.mean + 1.0) - bisect_left(due, now) if due else 0
        oldest = (now - self.waiting[0].came if self.waiting else 0.0) if self._ages else None
        self._poll = Poll(now, len(self.waiting) + soon, self._started, self._jobs, oldest, soon)

    def signals(self, now: float) -> Signals:
        """What the control plane knows at a time."""
        boots, self._boots = tuple(self._boots), []
        return Signals(
            now=now,
            poll=self._poll,
            stale=self._failed >= _FAILURES,
            started=self._started,
            finished=self._finished,
            job_seconds=self._took,
            idle=self._idle,
            busy=len(self._ready) - self._idle,
            speaks=True,
            jobs_at_work=self._jobs,
            elapsed=self._jobs * now - self._began,
            starting=tuple(now - worker.since for worker in self._starting),
            draining=self._draining + self._replacing,
            boots=boots,
            refused=self.refused,
            least=self.least,
            most=self.load.most,
            concurrency=float(self.load.concurrency),
            parkable=len(self._ready) - self._idle,
        )

    def remember(self, now: float) -> None:
        """Notes how it is, for a chart."""
        wait = now - self.waiting[0].came if self.waiting else 0.0
        leaving = self._draining + self._replacing
        self._moments.append(Moment(now, len(self.waiting), self.live, len(self._ready) - self._idle, wait, leaving))

    def result(self, now: float) -> Result:
        """The end: workers are paid up to now, and jobs that wait for too long already are late."""
        there = self.live + self._draining + self._replacing
        left = sum(now - job.came > self.load.wait for job in self.waiting)
        return Result(
            wait=self.load.wait,
            waits=array("d", sorted(self._waits)),
            left=left,
            worker_seconds=self._paid + there * now,
            work=(self._work + self._jobs * now - self._began) / self.load.concurrency,
            spawns=self._spawns,
            reversals=self._reversals,
            interrupted=self._interrupted,
            peak=self._peak,
            moments=tuple(self._moments),
        )
