"""Queues of different priority on one budget that cannot carry them for half an hour: the benchmark's load, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from benches.scaling.priority import BUDGET, DEAF, KINDS, PRIORITIES, Deaf, recovered, run, starved
from procq.scaling.sharing import AGING
from procq.scaling.signals import Signals
from procq.simulate.engine import Procq
from procq.simulate.result import Moment, Result

BOOT = 3.0


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return run(PRIORITIES, BOOT, 1)


def test_the_highest_priority_meets_its_objective_through_the_overload(results: list[Result]) -> None:
    assert results[0].attained >= 0.95
    assert recovered(results[0]) == 0.0


def test_the_others_degrade_in_order_and_recover_in_order(results: list[Result]) -> None:
    shares = [result.attained for result in results]
    longest = [result.waits[-1] / result.wait for result in results]
    again = [recovered(result) for result in results]
    assert shares == sorted(shares, reverse=True)
    assert longest[:3] == sorted(longest[:3])
    assert None not in again
    assert again == sorted(again)  # type: ignore[type-var]
    assert [result.left for result in results] == [0, 0, 0, 0]


def test_the_lowest_has_its_turns(results: list[Result]) -> None:
    above = KINDS[1].claim.priority - KINDS[-1].claim.priority
    assert 0.0 < starved(results[-1]) <= (above + 1) * AGING + BOOT + 10.0


def test_who_boots_is_not_ready(results: list[Result]) -> None:
    late = results[0].wait + 1.0
    counts = [(1, 1), (0, 0), (0, 0), (2, 0), (2, 2), (2, 0)]
    moments = [Moment(5.0 * n, 3, workers, busy, late, 0) for n, (workers, busy) in enumerate(counts)]
    assert starved(replace(results[0], moments=tuple(moments))) == 10.0


def most(results: list[Result]) -> int:
    """The most workers of all queues that were there at the same time, with those that leave."""
    at_once: dict[float, int] = {}
    for moment in (moment for result in results for moment in result.moments):
        at_once[moment.at] = at_once.get(moment.at, 0) + moment.workers + moment.draining
    return max(at_once.values())


def test_the_budget_is_used_and_kept(results: list[Result]) -> None:
    assert most(results) == BUDGET


def test_workers_that_leave_are_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgets(self: Procq, signals: Sequence[Signals]) -> Sequence[int]:
        return targets(self, [replace(each, draining=0) for each in signals])

    targets = Procq.targets
    monkeypatch.setattr(Procq, "targets", forgets)
    assert most(run(PRIORITIES, BOOT, 1)) > BUDGET


def test_where_nobody_can_be_parked_a_lower_priority_keeps_what_it_has() -> None:
    results = run(DEAF, BOOT, 1)
    assert results[0].attained < 0.95
    assert [result.interrupted for result in results] == [0, 0, 0, 0]


def test_jobs_of_workers_that_cannot_be_parked_are_interrupted_where_nobody_heeds_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Deaf, "targets", Procq.targets)
    assert sum(result.interrupted for result in run(DEAF, BOOT, 1)) > 0
