"""Delayed jobs: workers are there when they become due, however long beforehand and how often the source is asked."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle, pairwise

import pytest

from procq.rules import ScaleRule
from procq.scaling.announced import Announced
from procq.scaling.policy import Decision, Policy, Poll
from procq.scaling.sources.port import rounded
from tests.unit.scaling.test_policy import NOTHING


def between(due: Sequence[float], since: float, until: float) -> int:
    """How many jobs become due after `since`, up to `until`."""
    return sum(since < at <= until for at in due)


def play(
    due: Sequence[float], boots: Sequence[float], every: int, started: Callable[[float], int]
) -> Iterator[tuple[float, Decision]]:
    """What is decided each second, where workers take as long as `boots` says in turn, and nothing else is to do.

    The source is asked as production asks it, each `every` seconds; `started` is how many jobs have begun by a time.
    """
    policy, poll = Policy(ScaleRule(wait=5.0)), None
    for second, boot in zip(range(1, 300), cycle(boots), strict=False):
        now = float(second)
        if second % every == 0:
            within = rounded(policy.lead + every * (every > 1))
            soon = between(due, now, now + within)
            waiting = between(due, 0.0, now) - started(now)
            poll = Poll(now, float(waiting + soon), started(now), soon=float(soon), within=within)
        signals = replace(NOTHING, now=now, poll=poll, started=started(now), boots=(boot,), most=200)
        yield now, policy.decide(signals)


@pytest.mark.parametrize("boots", [(3.98,), (2.0, 6.0), (4.5, 3.6, 4.1)])
def test_all_that_are_due_find_workers_where_the_lead_is_about_at_a_step(boots: Sequence[float]) -> None:
    def nobody(_: float) -> int:
        return 0

    targets = {now: decision.target for now, decision in play([200.0] * 100, boots, 1, nobody)}
    assert targets[190.0] == 0
    assert [targets[at] for at in (196.0, 197.0, 198.0, 199.0)] == [100] * 4


@pytest.mark.parametrize("every", [1, 10, 60, 90])
@pytest.mark.parametrize("at", [215.0, 239.0, 240.0, 285.0])
def test_a_source_that_is_asked_seldom_tells_of_them_in_time(every: int, at: float) -> None:
    def begun(now: float) -> int:
        return 100 * (now >= at)

    targets = {now: decision.target for now, decision in play([at] * 100, [3.0], every, begun)}
    early = min(now for now, target in targets.items() if target == 100)
    assert at - 4.0 - every <= early <= at - 3.0


def test_those_that_were_begun_since_the_source_was_asked_no_longer_count() -> None:
    announced = Announced()
    announced.told(0.0, 10, 0, 60.0)
    announced.told(30.0, 10, 100, 60.0)
    announced.look(50.0, 4.0, 10, False)
    assert announced.soon == 0
    announced.look(58.0, 4.0, 10, False)
    assert announced.soon == 100
    announced.look(61.0, 4.0, 70, False)
    assert (announced.soon, list(announced.line())) == (40, [(60.5, 40)])


def test_while_a_worker_is_idle_none_is_late() -> None:
    announced = Announced()
    announced.told(0.0, 10, 0, 60.0)
    announced.told(30.0, 10, 100, 60.0)
    announced.look(80.0, 4.0, 30, True)
    assert list(announced.line()) == [(80.5, 80)]
    announced.look(85.0, 4.0, 60, False)
    assert list(announced.line()) == [(80.5, 50)], "since then there may be some that wait"


def test_jobs_that_the_source_did_not_tell_of_are_not_taken_for_them() -> None:
    announced = Announced()
    announced.told(0.0, 10, 0, 4.0)
    announced.told(1.0, 10, 100, 4.0)
    announced.look(1.3, 4.0, 13, False)
    assert announced.soon == 100


@pytest.mark.parametrize("seed", range(40))
def test_none_is_passed_over_whatever_the_source_is_asked_for(seed: int) -> None:
    dice = random.Random(seed)
    due = sorted(round(dice.uniform(0.0, 100.0), 1) for _ in range(dice.choice([5, 100])))
    announced, now = Announced(), 0.0
    while now < 110.0:
        within, lead = dice.uniform(3.0, 20.0), dice.uniform(0.5, 3.0)
        soon = between(due, now, now + within)
        announced.told(now, between(due, -1.0, now), soon, within)
        announced.look(now, lead, 0, dice.random() < 0.5)
        assert between(due, now, now + lead) <= announced.soon <= soon
        line = list(announced.line())
        assert all(one[0] <= other[0] and one[1] < other[1] for one, other in pairwise(line))
        assert (line[-1][1] if line else 0) == announced.soon
        now += dice.choice([1.0, 1.0, 1.0, 7.0])
