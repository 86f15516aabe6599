"""What the policy is told of workers, by states and reports that are written out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from procq.endings import End, ExitStatus
from procq.scaling.crew import Crew
from procq.state import NO_JOBS, Backoff, Draining, Jobs, QueueState, Report, Running, Starting, Stopping, WorkerState

NOW = 100.0
ALL = range(1, 100)


def running(generation: int, at: float = 50.0, ready: float | None = 52.0, parked: float | None = None) -> Running:
    return Running(generation, "f", 4711, at, None, ready=ready, parked=parked)


def said(
    generation: int, busy: int | None = 0, jobs: int = 0, since: float | None = None, seconds: float = 0.0
) -> Report:
    return Report(generation, work=Jobs(jobs=jobs, seconds=seconds), busy=busy, since=since)


def queue(*pairs: tuple[WorkerState, Report | None], past: Jobs = NO_JOBS) -> QueueState:
    workers = {slot: state for slot, (state, _) in enumerate(pairs, 1)}
    reports = {slot: report for slot, (_, report) in enumerate(pairs, 1) if report is not None}
    return QueueState(workers, reports=reports, past=past)


def test_every_worker_is_one_thing() -> None:
    end = End(ExitStatus(1), 40.0, 90.0)
    seen = Crew().look(
        queue(
            (running(1), said(1, 0, jobs=3)),
            (running(2), said(2, 1, jobs=4, since=94.0)),
            (running(3, ready=None), None),
            (Starting(4, "f", 97.0, None), None),
            (Stopping(5, "f", 1, 50.0, 110.0, "test"), said(5, 1)),
            (Draining(6, "f", end), None),
            (Backoff(7, "f", end, 101.0, 1), None),
            (running(8, parked=99.0), said(8, 1)),
            (running(9, parked=99.0), said(9, 2)),
            (Starting(10, "f", 97.0, None), None),
            (Stopping(11, "f", 1, 50.0, 110.0, "test"), None),
        ),
        NOW,
        range(1, 9),
    )
    # Three of the wanted ones make room for others, one fails again and again; of those that are not wanted all leave.
    assert (seen.idle, seen.busy, seen.draining) == (1, 1, 3)
    assert seen.starting == (50.0, 3.0, 0.0, 0.0, 0.0)
    assert (seen.jobs_at_work, seen.elapsed, seen.speaks) == (1 + 1 + 2, 6.0, True)
    assert (seen.started, seen.finished) == (3 + 4 + 1 + 1 + 1 + 2, 7)


def test_those_at_work_can_be_parked_where_all_of_them_can_be_told() -> None:
    can, cannot = replace(said(1, 1), parked=False), said(2, 2)
    assert Crew().look(queue((running(1), can), (running(3), said(3))), NOW, ALL).parkable == 1
    assert Crew().look(queue((running(1), can), (running(2), cannot)), NOW, ALL).parkable == 0
    silent = Crew().look(queue((running(1), None), (running(2), None)), NOW, ALL, 1)
    assert (silent.busy, silent.parkable) == (1, 0)


def test_jobs_only_grow() -> None:
    crew = Crew()
    assert crew.look(queue((running(1), said(1, 2, jobs=5))), NOW, ALL).started == 7
    # It was lost with two jobs in hand; of those that are gone only what was done is known.
    assert crew.look(queue(past=Jobs(jobs=5)), NOW, ALL).started == 7
    assert crew.look(queue((running(2), said(2, 1, jobs=0)), past=Jobs(jobs=5)), NOW, ALL).started == 8


def test_a_boot_is_told_once() -> None:
    crew = Crew()
    assert crew.look(queue((running(9), said(9))), NOW, ALL).boots == (), "who was there before"
    assert crew.look(queue((running(1), said(1))), NOW, ALL).boots == (2.0,)
    assert crew.look(queue((running(1), said(1))), NOW, ALL).boots == ()
    assert crew.look(queue((running(2, at=90.0, ready=93.5), said(2))), NOW, ALL).boots == (3.5,)


def test_who_is_ready_at_once_is_there_when_it_speaks() -> None:
    crew = Crew()
    crew.look(queue(), NOW, ALL)
    young = running(2, at=97.0, ready=97.0)
    assert crew.look(queue((running(1), said(1)), (young, None)), NOW, ALL).starting == (3.0,)
    seen = crew.look(queue((running(1), said(1)), (young, said(2))), NOW + 1, ALL)
    assert (seen.starting, seen.boots, seen.idle) == ((), (4.0,), 2)
    silent = crew.look(queue((running(1), said(1)), (running(3, at=20.0, ready=20.0), None)), NOW, ALL)
    assert (silent.busy, silent.starting) == (1, ())


@pytest.mark.parametrize(
    ("said_to_run", "quiet", "idle", "busy"),
    [(None, (), 0, 3), (None, (2, 3), 2, 1), (1, (), 2, 1), (5, (), 0, 3), (0, (), 3, 0)],
)
def test_workers_that_say_nothing(said_to_run: int | None, quiet: tuple[int, ...], idle: int, busy: int) -> None:
    seen = Crew().look(queue(*((running(n), None) for n in range(3))), NOW, ALL, said_to_run, quiet)
    assert (seen.idle, seen.busy, seen.speaks) == (idle, busy, False)


def test_how_many_jobs_a_worker_takes_is_learnt_while_jobs_wait() -> None:
    crew = Crew()
    for _ in range(100):
        crew.look(
            queue((running(1), said(1, 4, since=90.0)), (running(2), said(2, 4, since=90.0))), NOW, ALL, waits=True
        )
    seen = crew.look(queue((running(1), said(1, 1, since=90.0))), NOW, ALL)
    assert seen.concurrency == pytest.approx(4.0, abs=0.01)
    assert seen.elapsed == 10.0
