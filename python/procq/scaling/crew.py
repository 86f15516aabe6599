"""What the workers of a queue say and do, as the policy wants to know it: from one look to the next. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from procq.jobs import total
from procq.state import Backoff, Draining, Ended, QueueState, Report, Running, Starting, Stopping, WorkerState

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


@dataclass(slots=True)
class _Tally:
    idle: int = 0
    busy: int = 0
    draining: int = 0
    at_work: int = 0
    elapsed: float = 0.0
    starting: list[float] = field(default_factory=list)
    boots: list[float] = field(default_factory=list)
    silent: list[int] = field(default_factory=list)


class Crew:
    """The workers of one queue. It remembers which boots were told, and that numbers of jobs only grow."""

    def __init__(self) -> None:
        self._told: dict[int, int] = {}
        self._lost = 0
        self._started = 0
        self._concurrency = 1.0

    def look(
        self,
        queue: QueueState,
        now: float,
        running: int | None = None,
        quiet: Collection[int] = (),
        waits: bool = False,
    ) -> Seen:
        """The workers at `now`.

        Of workers that say nothing so many are busy as jobs are `running` by the broker's account; without one, all
        but those in the slots of `quiet`. `waits`: jobs wait, so that a worker has as many as it takes.
        """
        speaks = any(report.busy is not None for report in queue.reports.values()) or bool(queue.past.jobs)
        found = _Tally()
        for slot, state in queue.workers.items():
            self._count(slot, state, queue.reports.get(slot), speaks, now, found)
        self._told = {slot: told for slot, told in self._told.items() if slot in queue.workers}
        if found.silent:
            _spread(found, running if not speaks else None, quiet)
        if waits and speaks and found.busy:
            self._concurrency += _SLOWLY * (found.at_work / found.busy - self._concurrency)
        done = total([queue.past, *(report.work for report in queue.reports.values())])
        finished = done.jobs or 0
        return Seen(
            started=self._grown(finished + sum(report.busy or 0 for report in queue.reports.values())),
            finished=finished,
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
        )

    def _count(
        self, slot: int, state: WorkerState, report: Report | None, speaks: bool, now: float, found: _Tally
    ) -> None:
        match state:
            case Starting(at=at):
                found.starting.append(max(0.0, now - at))
            case Ended() | Backoff():
                # Another one takes the slot by itself: to start one more for it would be one too many.
                found.starting.append(0.0)
            case Stopping() | Draining():
                found.draining += 1
            case Running():
                self._running(slot, state, report, speaks, now, found)

    def _running(
        self, slot: int, state: Running, report: Report | None, speaks: bool, now: float, found: _Tally
    ) -> None:
        if report is not None and report.generation != state.generation:
            report = None
        if state.parked is not None or state.doomed is not None:
            found.draining += 1
            found.at_work += (report.busy or 0) if report is not None else 0
            return
        unheard = speaks and report is None and now - state.at < _SPEAKS_WITHIN
        if state.ready is None or unheard:
            found.starting.append(max(0.0, now - state.at))
            return
        if self._told.get(slot) != state.generation:
            self._told[slot] = state.generation
            # What is ready at once where others have to say something first is ready when it says something.
            at_once = state.ready == state.at and speaks
            found.boots.append(max(0.0, (now if at_once else state.ready) - state.at))
        if report is None or report.busy is None:
            found.silent.append(slot)
        elif report.busy:
            found.busy += 1
            found.at_work += report.busy
            # Of several jobs only the one is known that takes longest: the others are about halfway to it.
            found.elapsed += 0.0 if report.since is None else max(0.0, now - report.since) * (report.busy + 1) / 2
        else:
            found.idle += 1

    def _grown(self, started: int) -> int:
        """Jobs begun: those that a worker was at when it was lost were begun, too."""
        if started + self._lost < self._started:
            self._lost = self._started - started
        self._started = started + self._lost
        return self._started


def _spread(found: _Tally, running: int | None, quiet: Collection[int]) -> None:
    silent = len(found.silent)
    busy = silent - sum(slot in quiet for slot in found.silent) if running is None else min(silent, running)
    found.busy += busy
    found.idle += silent - busy
    found.at_work += busy
