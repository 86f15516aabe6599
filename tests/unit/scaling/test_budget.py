"""A budget from one decision to the next: who makes room for whom, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from procq.rules import Claim
from procq.scaling.budget import Budget, Sharing, wish_of
from procq.scaling.guard import shrink
from procq.scaling.policy import Decision
from procq.scaling.sharing import QUANTUM, Wish
from tests.unit.scaling.test_policy import NOTHING
from tests.unit.scaling.test_sharing import runs


def decided(target: int) -> Decision:
    return Decision(target, target, "because", (), "deadline", ())


HIGH, LOW = Claim(priority=1), Claim()
EIGHT = Budget(workers=8)


def test_who_can_be_parked_can_be_taken_and_who_starts_cannot() -> None:
    signals = replace(NOTHING, idle=1, busy=4, parkable=4, starting=(0.5, 1.0), least=1)
    wish = wish_of("a", decided(9), signals, HIGH, 0.5, 100)
    assert (wish.held, wish.busy, wish.starting, wish.least, wish.cpus, wish.memory, wish.claim) == (
        7,
        2,
        2,
        1,
        0.5,
        100,
        HIGH,
    )
    assert wish_of("a", decided(9), replace(signals, parkable=0), HIGH).busy == 6


def test_a_lower_priority_gives_as_many_as_it_takes_and_no_more() -> None:
    sharing = Sharing()
    low = replace(NOTHING, busy=8, parkable=8)
    wanted = {"high": 3, "low": 8}
    for now, draining in ((0.0, 0), (1.0, 3), (2.0, 3), (3.0, 1)):
        low = replace(low, busy=8 if now == 0.0 else 5, parkable=8 if now == 0.0 else 5, draining=draining)
        wishes = [wish_of("high", decided(3), NOTHING, HIGH), wish_of("low", decided(8), low, LOW)]
        grants = sharing.grant(wishes, EIGHT, {"low": draining}, now)
        assert grants["low"].workers == 5, "those who leave are what was to be given"
        assert grants["high"].workers == (0 if now == 0.0 else 3 - draining)
    assert grants["high"].short == "wants 3, has 2: others have to leave first"
    assert grants["low"].short == f"wants {wanted['low']}, has 5: worker budget"


def test_what_nobody_limits_is_had_at_once() -> None:
    wishes = [wish_of("high", decided(3), NOTHING, HIGH), wish_of("low", decided(9), NOTHING, LOW)]
    grants = Sharing().grant(wishes, Budget(), {"low": 4}, 0.0)
    assert [(grant.workers, grant.short) for grant in grants.values()] == [(3, ""), (9, "")]


def test_a_queue_that_has_nothing_gets_its_first_worker_from_busy_ones_in_time() -> None:
    sharing = Sharing()
    high = replace(NOTHING, busy=8, parkable=8)
    firsts = []
    for now in range(200):
        wishes = [wish_of("high", decided(9), high, HIGH), wish_of("low", decided(9), NOTHING, LOW)]
        grants = sharing.grant(wishes, EIGHT, {}, float(now))
        if grants["high"].workers < 8:
            firsts.append(now)
    assert firsts[0] == 60, "a minute for each priority, and of equals who has less comes first"


def test_who_is_there_stays_while_what_is_measured_is_hardly_beyond_the_budget() -> None:
    sharing, budget = Sharing(), Budget(cpus=2.0, memory=2000, margin=0.1)
    four = replace(NOTHING, busy=4, parkable=4)

    def granted(cpus: float, memory: int, *others: Wish) -> int:
        wish = wish_of("low", decided(9), four, LOW, cpus, memory)
        return sharing.grant([wish, *others], budget, {}, 0.0)["low"].workers

    assert [granted(cpus, 0) for cpus in (0.4, 0.5, 0.51, 0.55, 0.56)] == [5, 4, 4, 4, 3]
    assert [granted(0.0, memory) for memory in (400, 500, 510, 550, 560)] == [5, 4, 4, 4, 3]
    high = wish_of("high", decided(1), NOTHING, HIGH, 0.5)
    assert granted(0.5, 0, high) == 3
    assert granted(0.51, 0, high) == 3, "what another one gets is not kept"
    assert granted(0.51, 0, wish_of("free", decided(1), NOTHING, HIGH)) == 4
    budget = replace(budget, margin=0.0)
    assert [granted(0.51, 0), granted(0.0, 510)] == [3, 3], "what was said does not vary"


def test_nobody_starts_beyond_the_budget() -> None:
    sharing, budget, low, high = Sharing(), Budget(cpus=2.0, margin=0.1), 4, 0
    seen = []
    for now in range(5):
        there, first = replace(NOTHING, busy=low, parkable=low), replace(NOTHING, busy=high, parkable=high)
        wishes = [wish_of("low", decided(9), there, LOW, 0.52), wish_of("high", decided(1), first, HIGH, 0.52)]
        grants = sharing.grant(wishes, budget, {}, float(now))
        low, high = grants["low"].workers, grants["high"].workers
        seen.append((low, high))
    assert seen == [(3, 0), (2, 0), (2, 1), (2, 1), (2, 1)]


def test_where_all_workers_fail_none_that_starts_is_kept_from_others() -> None:
    signals = replace(NOTHING, idle=1, busy=2, parkable=1, starting=(0.5, 1.0))
    wish = wish_of("a", decided(9), signals, HIGH, failing=True)
    assert (wish.held, wish.busy, wish.starting, wish.at_work, wish.failing) == (5, 1, 2, 4, True)


def test_a_queue_whose_workers_fail_has_its_turn_and_no_more() -> None:
    """Of equal right with a worker that boots for so long, it would outrank others for ever."""
    sharing, seen = Sharing(), []
    alive, others = 0, 2
    for now in range(3600):
        # What it is given starts, and ends a second later, to be tried again after some time.
        low = replace(NOTHING, starting=(0.5,) if alive and now % 20 == 0 else ())
        high = replace(NOTHING, busy=others, parkable=others)
        wishes = [
            wish_of("high", decided(2), high, Claim(priority=3)),
            wish_of("low", decided(3), low, LOW, failing=alive > 0),
        ]
        grants = sharing.grant(wishes, Budget(workers=2), {}, float(now))
        alive, others = grants["low"].workers, grants["high"].workers
        seen.append(alive)
    turns = [length for count, length in runs(seen) if count]
    assert len(turns) >= 10
    assert all(QUANTUM <= length <= QUANTUM + 41 for length in turns[:-1])
    assert max(seen) == 1


@pytest.mark.parametrize("parkable", [0, 5])
def test_a_guard_takes_the_idle_ones_first_also_where_busy_ones_could_be_told(parkable: int) -> None:
    idle, busy = replace(NOTHING, idle=5), replace(NOTHING, busy=5, parkable=parkable)
    wishes = [wish_of("high", decided(5), idle, HIGH), wish_of("low", decided(5), busy, LOW)]
    there = {"high": 5, "low": 5}
    for drain in (False, True):
        assert shrink(wishes, there, 6, drain=drain) == {"high": 1, "low": 5}
    assert shrink(wishes, there, 3, drain=True) == {"high": 0, "low": 3}
    assert shrink(wishes, there, 3, drain=False) == {"high": 0, "low": 5}
