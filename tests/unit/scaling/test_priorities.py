"""Queues of different priority on one budget that cannot carry them for half an hour: the benchmark's load, once."""

from __future__ import annotations

import pytest

from benches.scaling.priority import BUDGET, DEAF, KINDS, PRIORITIES, recovered, run, starved
from procq.scaling.sharing import AGING
from procq.simulate.result import Result

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


def test_no_job_is_interrupted_and_the_budget_is_kept(results: list[Result]) -> None:
    assert [result.interrupted for result in results] == [0, 0, 0, 0]
    for moments in zip(*(result.moments for result in results), strict=True):
        assert sum(moment.workers for moment in moments) <= BUDGET


def test_where_nobody_can_be_parked_a_lower_priority_keeps_what_it_has() -> None:
    results = run(DEAF, BOOT, 1)
    assert results[0].attained < 0.95
    assert sum(result.interrupted for result in results) == 0
