"""A budget from one decision to the next: who makes room for whom, and when."""

from __future__ import annotations

from dataclasses import replace

from procq.rules import Claim
from procq.scaling.budget import Budget, Sharing, wish_of
from procq.scaling.policy import Decision
from tests.unit.scaling.test_policy import NOTHING


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
