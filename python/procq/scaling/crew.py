"""What the workers of a queue say and do, as the policy wants to know it: from one look to the next. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from procq.jobs import total
from procq.state import Draining, Ended, QueueState, Report, Running, Starting, Stopping, WorkerState

_SPEAKS_WITHIN: Final = 60.0
"""Seconds after which a worker that says nothing where others speak counts all the same."""
_SLOWLY: Final = 0.1
"""How much of what is seen now goes into the number of jobs that a worker takes at a time."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The workers of a queue at one moment; the fields are those of `Signals`."""

    started: int
    finished: int
    job_seconds: float
    idle: int
    busy: int
    speaks: bool
    jobs_at_work: int
    elapsed: float
    starting: tuple[float, ...]
    draining: int
    boots: tuple[float, ...]
    concurrency: float
    parkable: int


@dataclass(slots=True)
class _Tally:
    now: float
    speaks: bool
    idle: int = 0
    busy: int = 0
    draining: int = 0
    at_work: int = 0
    elapsed: float = 0.0
    deaf: int = 0
    starting: list[float] = field(default_factory=list)
    boots: list[float] = field(default_factory=list)
    silent: list[int] = field(default_factory=list)


class Crew:
    """The workers of one queue. It remembers which boots were told, and that numbers of jobs only grow."""

    def __init__(self) -> None:
        self._told: dict[int, int] | None = None
        self._lost = 0
        self._started = 0
        self._concurrency = 1.0

    def started(self, queue: QueueState) -> int:
        """Jobs that were begun by now: those that a worker was at when it was lost were begun, too."""
        finished = total([queue.past, *(report.work for report in queue.reports.values())]).jobs or 0
        started = finished + sum(report.busy or 0 for report in queue.reports.values())
        if started + self._lost < self._started:
            self._lost = self._started - started
        self._started = started + self._lost
        return self._started

    def look(
        self,
        queue: QueueState,
        now: float,
        wanted: Collection[int],
        running: int | None = None,
        quiet: Collection[int] = (),
        waits: bool = False,
    ) -> Seen:
        """The workers at `now`.

        Those in the slots that are `wanted` count; one that leaves there makes room for another, and counts as that.
        Others leave for good, or stand in while workers are replaced. Of workers that say nothing so many are busy as
        jobs are `running` by the broker's account; without one, all but those in the slots of `quiet`. `waits`: jobs
        wait, so that a worker has as many as it takes.
        """
        speaks = any(report.busy is not None for report in queue.reports.values()) or bool(queue.past.jobs)
        self._remember(queue)
        found = _Tally(now, speaks)
        for slot, state in queue.workers.items():
            if slot in wanted:
                self._count(slot, state, queue.reports.get(slot), found)
            else:
                _leaves(state, queue.reports.get(slot), found)
        if found.silent:
            _spread(found, running if not speaks else None, quiet)
        if waits and speaks and found.busy:
            self._concurrency += _SLOWLY * (found.at_work / found.busy - self._concurrency)
        done = total([queue.past, *(report.work for report in queue.reports.values())])
        return Seen(
            started=self.started(queue),
            finished=done.jobs or 0,
            job_seconds=done.seconds or 0.0,
            idle=found.idle,
            busy=found.busy,
            speaks=speaks,
            jobs_at_work=max(found.at_work, 0 if speaks or running is None else running),
            elapsed=found.elapsed,
            starting=tuple(found.starting),
            draining=found.draining,
            boots=tuple(found.boots),
            concurrency=max(1.0, self._concurrency),
            # Where some cannot be told, it may be one of those who has to go.
            parkable=0 if found.deaf else found.busy,
        )

    def _remember(self, queue: QueueState) -> None:
        if self._told is None:
            # Who was there before us has booted some time; in how long, nobody knows.
            self._told = {slot: state.generation for slot, state in queue.workers.items() if isinstance(state, Running)}
        else:
            self._told = {slot: told for slot, told in self._told.items() if slot in queue.workers}

    def _count(self, slot: int, state: WorkerState, report: Report | None, found: _Tally) -> None:
        match state:
            case Starting(at=at):
                found.starting.append(max(0.0, found.now - at))
            case Stopping() | Draining() | Ended():
                # Another one takes the slot by itself: to start one more for it would be one too many.
                found.starting.append(0.0)
            case Running():
                known = report is not None and report.generation == state.generation
                self._running(slot, state, report if known else None, found)

    def _running(self, slot: int, state: Running, report: Report | None, found: _Tally) -> None:
        if state.parked is not None:
            # Another one takes its place, when it has done what it is at.
            found.starting.append(0.0)
            found.at_work += (report.busy or 0) if report is not None else 0
            return
        age = max(0.0, found.now - state.at)
        unheard = found.speaks and report is None and age < _SPEAKS_WITHIN
        if state.ready is None or unheard:
            found.starting.append(age)
            return
        self._boot(slot, state, found)
        if report is None or report.busy is None:
            found.silent.append(slot)
        elif report.busy:
            found.busy += 1
            found.deaf += report.parked is None
            found.at_work += report.busy
            # Of several jobs only the one is known that takes longest: the others are about halfway to it.
            found.elapsed += 0.0 if report.since is None else max(0.0, found.now - report.since) * (report.busy + 1) / 2
        else:
            found.idle += 1

    def _boot(self, slot: int, state: Running, found: _Tally) -> None:
        assert self._told is not None
        if self._told.get(slot) == state.generation or state.ready is None:
            return
        self._told[slot] = state.generation
        # What is ready at once where others have to say something first is ready when it says something.
        at_once = state.ready == state.at and found.speaks
        found.boots.append(max(0.0, (found.now if at_once else state.ready) - state.at))


def _leaves(state: WorkerState, report: Report | None, found: _Tally) -> None:
    """Somebody whose slot is not wanted: he costs until he is gone, and finishes what he is at."""
    if isinstance(state, Starting | Running | Stopping | Draining):
        found.draining += 1
    if isinstance(state, Running) and report is not None and report.generation == state.generation:
        found.at_work += report.busy or 0


def _spread(found: _Tally, running: int | None, quiet: Collection[int]) -> None:
    silent = len(found.silent)
    busy = silent - sum(slot in quiet for slot in found.silent) if running is None else min(silent, running)
    found.busy += busy
    found.deaf += busy
    found.idle += silent - busy
    found.at_work += busy
