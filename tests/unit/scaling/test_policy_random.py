"""What holds for whatever the policy is told."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from procq.rules import ScaleRule, Style
from procq.scaling.policy import Decision, Policy, Poll, Signals

amounts = st.one_of(st.none(), st.floats(0.01, 1e4))
rules = st.builds(
    ScaleRule,
    wait=amounts,
    backlog=amounts,
    utilization=st.one_of(st.none(), st.floats(0.05, 1.0)),
    metric=amounts,
    style=st.sampled_from(list(Style)),
    job_time=amounts,
)
finite = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 40)


@st.composite
def steps(draw: st.DrawFn) -> list[Signals]:
    """What a queue might say in the course of time, with a source that comes and goes."""
    now, started, finished, seconds, poll = draw(st.floats(0, 1e6)), 0, 0, 0.0, None
    least = draw(st.integers(0, 5))
    most, speaks = least + draw(st.integers(0, 60)), draw(st.booleans())
    each, told = draw(st.sampled_from([1.0, 1.0, 2.5, 8.0])), []
    for _ in range(draw(st.integers(1, 25))):
        now += draw(st.sampled_from([0.0, 0.3, 1.0, 1.0, 1.0, 30.0, 5000.0]))
        started += draw(counts)
        finished += draw(counts)
        seconds += draw(st.floats(0, 1e4))
        if draw(st.integers(0, 3)):
            oldest = draw(st.one_of(st.none(), st.floats(0, 1e5)))
            running, within = draw(st.none() | counts), draw(st.none() | st.floats(0, 120))
            soon = draw(st.sampled_from([0.0, 0.0, 5.0, 1e6]))
            poll = Poll(now, draw(st.floats(0, 1e5)), started, running, oldest, soon, within)
        busy = draw(counts)
        told.append(
            Signals(
                now=now,
                poll=poll,
                stale=draw(st.booleans()),
                started=started,
                finished=finished,
                job_seconds=seconds,
                idle=draw(counts),
                busy=busy,
                speaks=speaks,
                jobs_at_work=busy if each == 1.0 else draw(st.integers(busy, int(busy * each))),
                elapsed=draw(st.floats(0, 1e5)),
                starting=tuple(draw(st.lists(st.floats(0, 1e3), max_size=5))),
                draining=draw(counts),
                boots=tuple(draw(st.lists(st.floats(0, 1e3), max_size=3))),
                refused=draw(st.booleans()),
                least=least,
                most=most,
                concurrency=each,
            )
        )
    return told


def sound(decision: Decision, signals: Signals) -> None:
    assert signals.least <= decision.target <= signals.most
    assert decision.wanted >= 0
    assert decision.reason and decision.winner
    assert all(math.isfinite(term.value) for term in decision.terms)
    if signals.stale:
        assert decision.target >= min(signals.live, signals.most)
    assert decision.target >= min(signals.most, signals.busy + len(signals.starting))


@given(rules, steps())
@settings(max_examples=150, deadline=None)
def test_the_rules_that_always_hold(rule: ScaleRule, told: list[Signals]) -> None:
    policy = Policy(rule)
    for signals in told:
        sound(policy.decide(signals), signals)


@given(st.floats(0.1, 600.0), st.sampled_from(list(Style)), steps())
@settings(max_examples=150, deadline=None)
def test_no_worker_is_started_without_a_job_for_it(wait: float, style: Style, told: list[Signals]) -> None:
    policy = Policy(ScaleRule(wait=wait, style=style))
    for signals in (replace(each, speaks=True, stale=False) for each in told):
        target = policy.decide(signals).target
        if signals.poll is None:
            assert target == min(max(signals.live, signals.least), signals.most)
            continue
        jobs = max(0.0, signals.poll.waiting + signals.poll.started - signals.started)
        useful = signals.busy + math.ceil(jobs / signals.concurrency) + 1
        assert target <= max(useful if jobs else signals.busy, signals.live, signals.least)


@given(rules, steps())
@settings(max_examples=60, deadline=None)
def test_the_same_signals_give_the_same_decisions(rule: ScaleRule, told: list[Signals]) -> None:
    a, b = Policy(rule), Policy(rule)
    assert [a.decide(each) for each in told] == [b.decide(each) for each in told]


@given(rules, rules, steps())
@settings(max_examples=60, deadline=None)
def test_it_goes_on_from_what_was_saved_and_with_other_rules(a: ScaleRule, b: ScaleRule, told: list[Signals]) -> None:
    policy = Policy(a)
    for signals in told:
        policy.decide(signals)
    again = Policy.restore(b, policy.save())
    policy.retune(b)
    for signals in told:
        sound(again.decide(signals), signals)
        sound(policy.decide(replace(signals, now=signals.now + told[-1].now)), signals)


@given(finite, finite, finite, st.integers(), st.integers(), finite, finite)
@settings(max_examples=200, deadline=None)
def test_no_finite_number_is_too_odd(
    now: float, at: float, waiting: float, started: int, finished: int, seconds: float, oldest: float
) -> None:
    policy = Policy(ScaleRule(wait=30.0, backlog=3.0, utilization=0.5, metric=0.001))
    signals = Signals(
        now=now,
        poll=Poll(at, waiting, started, None, oldest),
        stale=False,
        started=started,
        finished=finished,
        job_seconds=seconds,
        idle=1,
        busy=1,
        speaks=True,
        jobs_at_work=1,
        elapsed=seconds,
        starting=(waiting,),
        draining=0,
        boots=(waiting,),
        refused=False,
        least=0,
        most=9,
    )
    for late in (0.0, 1.0, 2.0):
        signals = replace(signals, now=signals.now + late, poll=Poll(at + late, waiting, started, None, oldest))
        sound(policy.decide(signals), signals)
