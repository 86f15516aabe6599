"""How fast queues work, by events that are counted by hand."""

from __future__ import annotations

import pytest

from procq.endings import ExitStatus
from procq.events import Exited, Gone, Reported, Snapshot
from procq.model import WorkerId
from procq.pace import NO_PACE, Paces
from procq.state import Jobs, Report, Running
from tests.queues import EMAILS_1

EMAILS_2 = WorkerId("emails", 2)
NOTHING_RUNS = Snapshot((), 0.0, 0)


def said(jobs: int, busy: int, worker: WorkerId = EMAILS_1, generation: int = 1) -> Reported:
    return Reported(worker, Report(generation, work=Jobs(jobs=jobs), busy=busy))


def attached() -> Paces:
    paces = Paces()
    paces.happened([NOTHING_RUNS], 0.0)
    return paces


def steady(paces: Paces, since: int, until: int) -> None:
    """One job a second, which takes a quarter of it."""
    for second in range(since, until):
        paces.happened([said(second - since, 1)], second)
        paces.happened([said(second - since + 1, 0)], second + 0.25)


def test_a_queue_that_has_said_nothing_has_no_pace() -> None:
    assert attached().of("emails", 10.0) == NO_PACE


def test_a_steady_worker() -> None:
    paces = attached()
    steady(paces, 0, 300)
    pace = paces.of("emails", 300.0)
    assert pace.throughput == pytest.approx(1.0, rel=0.02)
    assert pace.busy_share == pytest.approx(0.25, rel=0.02)


def test_what_is_longer_ago_than_a_minute_does_not_count() -> None:
    paces = attached()
    steady(paces, 0, 120)
    assert paces.of("emails", 150.0).throughput == pytest.approx(0.5, rel=0.05)
    assert paces.of("emails", 185.0).throughput == pytest.approx(0.0, abs=0.01)
    paces.happened([said(121, 1)], 500.0)
    assert paces.of("emails", 500.0).throughput == pytest.approx(1 / 60, rel=0.01)
    assert paces.of("emails", 530.0).busy_share == pytest.approx(0.5, rel=0.01)


def test_a_young_queue_is_judged_by_what_there_is_of_it() -> None:
    paces = attached()
    paces.happened([said(0, 1)], 10.0)
    assert paces.of("emails", 10.5) == NO_PACE
    paces.happened([said(8, 1)], 14.0)
    assert paces.of("emails", 14.0).throughput == pytest.approx(2.0)
    assert paces.of("emails", 14.0).busy_share == 1.0


def test_jobs_from_before_are_not_of_the_last_minute() -> None:
    paces = Paces()
    paces.happened([said(5_000, 0), Snapshot(((EMAILS_1, Running(1, "f", 7, 0.0, None)),), 100.0, 1)], 100.0)
    paces.happened([said(5_010, 0)], 110.0)
    assert paces.of("emails", 110.0).throughput == pytest.approx(1.0)


def test_workers_that_follow_each_other_are_added_up() -> None:
    paces = attached()
    paces.happened([said(10, 1), said(10, 0, EMAILS_2)], 10.0)
    paces.happened([Exited(EMAILS_1, 1, ExitStatus(0), 20.0)], 20.0)
    # The last thing it said comes after its end, and counts once.
    paces.happened([said(20, 1)], 20.0)
    paces.happened([said(20, 1)], 20.0)
    paces.happened([Gone(EMAILS_1, 1, 0, 20.0)], 20.0)
    paces.happened([said(10, 0, generation=3)], 30.0)
    pace = paces.of("emails", 30.0)
    assert pace.throughput == pytest.approx((20 + 20) / 20)
    # Two there for 10 s, one for 10 s, busy for the first 10 s of one of them.
    assert pace.busy_share == pytest.approx(10 / 30)


def test_what_comes_late_of_an_earlier_generation_does_not_count() -> None:
    paces = attached()
    paces.happened([said(1, 0, generation=2)], 1.0)
    paces.happened([said(100, 1, generation=1)], 2.0)
    paces.happened([Gone(EMAILS_1, 1, 0, 3.0)], 3.0)
    assert paces.of("emails", 3.0).throughput == pytest.approx(1 / 2)
    assert paces.of("emails", 3.0).busy_share == 0.0


def test_who_is_not_in_a_snapshot_is_gone() -> None:
    paces = attached()
    paces.happened([said(1, 1)], 1.0)
    paces.happened([NOTHING_RUNS], 11.0)
    assert paces.of("emails", 31.0).busy_share == 1.0
    assert paces.of("emails", 100.0).busy_share is None


def test_little_is_remembered_of_much() -> None:
    paces = attached()
    for step in range(100_000):
        paces.happened([said(step, step % 2)], step / 1000)
    assert len(paces._queues["emails"].memories) < 100
    assert paces.of("emails", 100.0).throughput == pytest.approx(1000, rel=0.05)
