"""The policy, case by case: what it decides, and what it says of that."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from procq.rules import ScaleRule, Style
from procq.scaling.policy import Decision, Policy, Poll, Signals
from procq.scaling.rent import Rent

NOTHING = Signals(
    now=0.0,
    poll=None,
    stale=False,
    started=0,
    finished=0,
    job_seconds=0.0,
    idle=0,
    busy=0,
    speaks=True,
    jobs_at_work=0,
    elapsed=0.0,
    starting=(),
    draining=0,
    boots=(),
    refused=False,
    least=0,
    most=100,
)


def told(now: float, waiting: float | None, **more: Any) -> Signals:
    """Signals at `now`, with a poll of just then; `jobs_at_work` is as `busy` unless it is given."""
    more.setdefault("jobs_at_work", more.get("busy", 0))
    poll = None if waiting is None else Poll(now, waiting, more.get("started", 0))
    return replace(NOTHING, now=now, poll=poll, **more)


def policy_of(**rule: Any) -> Policy:
    return Policy(ScaleRule(**rule))


def taught(boot: float = 2.0, took: float = 1.0, **rule: Any) -> Policy:
    """A policy that has seen five boots and a hundred jobs, and nothing for long after that."""
    policy = policy_of(**rule)
    policy.decide(told(0.0, 0))
    policy.decide(told(1.0, 0, started=100, finished=100, job_seconds=100 * took, boots=(boot,) * 5))
    policy.decide(told(1000.0, 0, started=100, finished=100, job_seconds=100 * took))
    return policy


def later(now: float, waiting: float | None, took: float = 1.0, **more: Any) -> Signals:
    return told(now, waiting, **{"started": 100, "finished": 100, "job_seconds": 100 * took, **more})


def test_nothing_to_do_needs_nobody() -> None:
    decision = policy_of(wait=30.0).decide(told(0.0, 0))
    assert (decision.target, decision.winner) == (0, "demand")
    assert decision.reason == "no job waits and no worker is there"


def test_a_range_and_a_source_alone_mean_thirty_seconds() -> None:
    a, b = Policy(ScaleRule()), policy_of(wait=30.0)
    for second in range(40):
        signals = told(float(second), min(second, 5))
        assert a.decide(signals) == b.decide(signals)


def test_it_begins_with_what_is_there_and_never_with_the_most() -> None:
    decision = policy_of(wait=30.0).decide(told(0.0, None, least=2))
    assert decision.target == 2
    assert policy_of(wait=30.0).decide(told(0.0, None, least=2, idle=5)).target == 5


def test_of_unknown_jobs_each_gets_a_worker() -> None:
    decision = policy_of(wait=30.0).decide(told(0.0, 7))
    assert decision.target == 7
    assert decision.winner == "deadline"


def test_a_worker_that_will_be_in_time_is_enough() -> None:
    # Ten jobs of a second and 30 s of time: one worker does them.
    decision = taught(wait=30.0).decide(later(1001.0, 10))
    assert decision.target == 1
    assert "no worker would start" in decision.reason


def test_many_jobs_need_many_workers() -> None:
    policy = taught(wait=30.0)
    policy.decide(later(1001.0, 0))
    decision = policy.decide(later(1002.0, 900))
    assert 30 <= decision.target <= 60
    # With those on their way the projection holds: nobody is started twice for the same jobs.
    again = policy.decide(later(1003.0, 900, starting=(1.0,) * decision.target))
    assert again.target == decision.target


def test_a_first_job_waits_for_others_where_they_are_to_be_expected() -> None:
    def first(style: Style, every: int) -> int:
        """After how many seconds a worker is started, when a job comes every so many seconds."""
        policy, started = taught(wait=30.0, style=style), 100
        for second in range(1, 600):
            started += second % every == 0
            policy.decide(later(1000.0 + second, 0, started=started, finished=started, idle=1))
        for second in range(60):
            signals = later(1600.0 + second, 1 + second // every, started=started, finished=started)
            if policy.decide(signals).target:
                return second
        raise AssertionError

    assert 15 <= first(Style.BALANCED, 5) <= 27
    assert first(Style.EAGER, 5) == 0
    assert first(Style.BALANCED, 300) == 0


def test_what_is_late_already_is_not_worth_a_worker_each() -> None:
    fresh = Policy.restore(ScaleRule(wait=30.0), taught(wait=30.0).save())
    late = replace(told(1001.0, 40), poll=Poll(1001.0, 40, 0, oldest=600.0))
    assert 1 < fresh.decide(late).target < 10


def test_jobs_that_are_late_already_wait_for_no_others() -> None:
    policy = taught(boot=0.3, took=5.0, wait=300.0)
    targets = [policy.decide(later(1000.0 + tick, 300, took=5.0, refused=True)).target for tick in range(600)]
    assert targets[0] == 0, "there is time enough to wait for others"
    assert min(targets[300:]) > 0


def test_jobs_that_are_due_soon_find_workers_ready() -> None:
    policy = taught(boot=10.0, wait=15.0, style=Style.EAGER)
    policy.decide(later(1001.0, 0))
    signals = replace(later(1002.0, None), poll=Poll(1002.0, 50, 100, soon=50))
    assert policy.decide(signals).target > 1


def test_a_level_that_is_seldom_needed_is_soon_given_up() -> None:
    assert kept(half_an_hour(120), 2800.0) <= 2 < kept(half_an_hour(6), 2800.0)


def half_an_hour(every: int) -> Policy:
    """A policy that has seen a job every so many seconds, the last one at 2800."""
    policy, started = taught(wait=5.0, boot=1.0), 100
    for second in range(1, 1801):
        busy = int(second % every == 0)
        started += busy
        policy.decide(later(1000.0 + second, 0, started=started, finished=started, busy=busy, idle=1 - busy))
    return policy


def kept(policy: Policy, since: float) -> int:
    """Seconds that an idle worker is kept for, when there are no jobs any more."""
    for second in range(600):
        if not policy.decide(later(since + 1.0 + second, 0, started=1000, finished=1000, idle=1)).target:
            return second
    raise AssertionError


@pytest.mark.parametrize("every", [6, 120])
def test_what_was_learnt_of_gaps_survives_a_restart(every: int) -> None:
    policy = half_an_hour(every)
    again = Policy.restore(ScaleRule(wait=5.0), json.loads(json.dumps(policy.save())))
    # A job ends as the one before the restart did.
    again.decide(later(2800.0, 0, started=1000, finished=999, busy=1))
    policy.decide(later(2800.0, 0, started=1000, finished=999, busy=1))
    assert kept(again, 2800.0) == kept(policy, 2800.0)
    assert again.save()["keeping"] == policy.save()["keeping"]


def test_what_was_learnt_before_a_restart_gives_way_to_ten_gaps() -> None:
    learnt = half_an_hour(120).save()["keeping"]
    rent = Rent()
    rent.load(learnt)
    seen = []
    for gap in range(20):
        rent.mark(1, 6.0 * gap, 1, 0.0, 10.0)
        rent.mark(0, 6.0 * gap + 1.0, 1, 0.0, 10.0)
        seen.append(rent.save()[1])
    assert seen[9] == learnt[1] < seen[-1]


def test_no_more_than_jobs_wait_and_run() -> None:
    policy = taught(took=60.0, wait=5.0)
    assert policy.decide(later(1001.0, 3, took=60.0, busy=4)).target == 7


def test_the_limits_are_said() -> None:
    decision = policy_of(wait=30.0).decide(told(0.0, 50, most=8, least=1))
    assert (decision.target, decision.wanted, decision.limits) == (8, 50, ("at most 8",))
    decision = policy_of(wait=30.0).decide(told(0.0, 0, least=3))
    assert (decision.target, decision.wanted, decision.limits) == (3, 0, ("at least 3",))


def idle_until_gone(policy: Policy, boot: float) -> float:
    policy.decide(told(100.0, 0, busy=1, boots=(boot,) * 5))
    now = 101.0
    while policy.decide(told(now, 0, idle=1)).target == 1:
        now += 1.0
        assert now < 2000.0
    return now - 100.0


def test_a_worker_is_kept_as_its_boot_is_worth_and_as_the_style_says() -> None:
    kept = {style: idle_until_gone(policy_of(wait=30.0, style=style), 2.0) for style in Style}
    assert kept == {Style.LAZY: 2.0, Style.BALANCED: 6.0, Style.EAGER: 30.0}
    assert idle_until_gone(policy_of(wait=60.0), 4.0) == 12.0


def test_keeping_is_counted_by_level_and_not_by_worker() -> None:
    # One of two is busy at each moment, never for long the same: the second is not needed.
    policy = policy_of(wait=30.0)
    policy.decide(told(0.0, 0, busy=2))
    targets = [policy.decide(told(float(now), 0, busy=1, idle=1)).target for now in range(1, 8)]
    assert targets == [2, 2, 2, 2, 1, 1, 1]


def test_a_source_that_fails_lowers_nothing() -> None:
    policy = policy_of(wait=30.0)
    policy.decide(told(0.0, 5))
    stale = replace(told(500.0, 0, idle=4, started=5), poll=Poll(0.0, 5, 0), stale=True)
    decision = policy.decide(stale)
    assert decision.target == 4
    assert "does not answer" in decision.reason


def test_without_a_source_one_worker_is_raised_where_jobs_kept_coming() -> None:
    policy, quiet = taught(wait=30.0), taught(wait=30.0)
    for second in range(60):
        policy.decide(later(1001.0 + second, 0, started=100 + second, finished=100 + second))
    silent = replace(NOTHING, stale=True, started=159, finished=159, job_seconds=100.0)
    assert policy.decide(replace(silent, now=1061.0, poll=Poll(1060.0, 0, 159))).target == 0
    assert policy.decide(replace(silent, now=1090.0, poll=Poll(1060.0, 0, 159))).target == 1
    assert quiet.decide(replace(silent, now=1090.0, started=100, poll=Poll(1000.0, 0, 100))).target == 0


def test_busy_workers_are_not_taken() -> None:
    decision = policy_of(backlog=10.0).decide(told(0.0, 0, busy=6))
    assert decision.target == 6
    assert "6 workers are busy or starting" in decision.limits[0]
    assert policy_of(backlog=10.0).decide(told(0.0, 0, busy=6, most=2)).target == 2


def test_backlog() -> None:
    policy = policy_of(backlog=10.0)
    decision = policy.decide(told(0.0, 31, busy=1))
    assert decision.target == 4
    assert decision.reason == "32 jobs, 10 for each worker: 3 more"


def test_what_was_needed_just_now_stays() -> None:
    policy = policy_of(backlog=10.0)
    policy.decide(told(0.0, 40))
    assert policy.decide(told(2.0, 0, idle=4)).target == 4
    assert policy.decide(told(6.0, 0, idle=4)).target == 0


def test_utilization() -> None:
    policy = policy_of(utilization=0.5)
    assert policy.decide(told(0.0, 0, busy=4)).target == 8
    assert policy_of(utilization=0.5).decide(told(0.0, 3)).target == 1


def test_metric_needs_no_jobs() -> None:
    assert policy_of(metric=250.0).decide(told(0.0, 1001)).target == 5


def test_the_largest_of_several_objectives_wins() -> None:
    decision = taught(wait=30.0, backlog=2.0).decide(later(1001.0, 10))
    assert (decision.target, decision.winner) == (5, "backlog")
    names = {term.name.partition(".")[0] for term in decision.terms}
    assert names == {"wait", "backlog"}


def test_late_jobs_make_it_eager_and_quiet_ones_lazy() -> None:
    def eagerness(decision: Decision) -> float:
        return next(term.value for term in decision.terms if term.name == "eagerness")

    policy, started = taught(wait=5.0), 100
    before = eagerness(policy.decide(later(1001.0, 10)))
    for second in range(1, 20):
        started += second > 10
        decision = policy.decide(later(1001.0 + second, 110 - started, started=started, busy=1))
    assert eagerness(decision) > before
    for second in range(20, 400):
        started += 2
        decision = policy.decide(later(1001.0 + second, 1, started=started, busy=1))
    assert eagerness(decision) < before


def test_workers_for_what_is_due_later_are_started_when_they_are_needed() -> None:
    def starts(within: float | None) -> float:
        """Seconds before fifty jobs are due at which the first worker is started, when that is known so long before."""
        policy, due = taught(boot=10.0, wait=5.0, took=60.0), 1100.0
        for second in range(1, 200):
            now = 1000.0 + second
            soon = 50.0 * (due - now <= (within or 11.0))
            signals = replace(later(now, None, took=60.0), poll=Poll(now, soon, 100, soon=soon, within=within))
            if policy.decide(signals).target:
                return due - now
        raise AssertionError

    assert starts(None) == starts(11.0) == starts(15.0) == starts(60.0) == 11.0


def test_jobs_that_were_told_before_they_were_due_are_not_late_for_that() -> None:
    def eagerness(is_told: bool) -> float:
        """After fifty jobs that begin as soon as they are due, in ten seconds, which are known before."""
        policy = taught(boot=10.0, wait=5.0)
        for second in range(1, 12):
            poll = Poll(1000.0 + second, 50, 100, soon=50.0 * is_told)
            policy.decide(replace(later(1000.0 + second, None), poll=poll))
        decision = policy.decide(later(1012.0, 0, started=150, busy=50))
        return next(term.value for term in decision.terms if term.name == "eagerness")

    assert eagerness(is_told=True) < eagerness(is_told=False)


def test_late_jobs_that_no_worker_could_be_had_for_do_not_count() -> None:
    cut, free = taught(wait=5.0), taught(wait=5.0)
    for second in range(1, 30):
        started = 100 + max(0, second - 10)
        signals = later(1001.0 + second, 160 - started, started=started, busy=1)
        a, b = cut.decide(replace(signals, refused=True)), free.decide(signals)
    assert a.terms[4].value < b.terms[4].value


def test_several_jobs_at_a_time_need_fewer_workers() -> None:
    assert policy_of(wait=30.0).decide(told(0.0, 20, concurrency=4.0)).target == 5


def test_places_that_are_free_in_busy_workers_count() -> None:
    signals = told(0.0, 6, busy=2, jobs_at_work=2, concurrency=4.0)
    assert policy_of(wait=30.0).decide(signals).target == 2


def test_a_worker_that_says_nothing_is_reckoned_by_the_queue() -> None:
    policy, target = policy_of(wait=10.0, job_time=1.0), 0
    for second in range(60):
        # Always ten in the queue, because two workers keep up with what comes.
        decision = policy.decide(told(float(second), 10, busy=2, speaks=False))
        target = max(target, decision.target if second else 0)
    assert target < 12  # as many as there are jobs, if those seemed never to be started


def test_jobs_of_before_are_as_old_as_the_source_says() -> None:
    targets = []
    for age in (0.5, 25.0):
        fresh = Policy.restore(ScaleRule(wait=30.0), taught(wait=30.0).save())
        targets.append(fresh.decide(replace(told(1001.0, 40), poll=Poll(1001.0, 40, 0, oldest=age))).target)
    assert targets[0] < targets[1]


def test_a_long_boot_keeps_a_floor_for_bursts() -> None:
    policy, started = policy_of(wait=5.0), 0
    policy.decide(told(0.0, 0, boots=(20.0,) * 5))
    for minute in range(1, 60):
        now = 60.0 * minute
        decision = policy.decide(told(now, 12, started=started, finished=started, job_seconds=2.0 * started))
        started += 12
        policy.decide(told(now + 10, 0, started=started, finished=started, job_seconds=2.0 * started, idle=12))
    assert next(term.value for term in decision.terms if term.name == "floor") >= 2


def test_memory_survives_a_restart() -> None:
    policy = taught(boot=4.0, took=2.0, wait=30.0)
    again = Policy.restore(ScaleRule(wait=30.0), policy.save())
    assert again.save() == policy.save()
    # One that an earlier version has saved knows nothing of gaps.
    before = {name: value for name, value in policy.save().items() if name != "keeping"}
    assert Policy.restore(ScaleRule(wait=30.0), before).save() == policy.save()
    assert Policy.restore(ScaleRule(wait=30.0), {}).save() == policy_of(wait=30.0).save()


@pytest.mark.parametrize(
    "rubbish",
    [
        {"service": "x"},
        {"service": [1.0]},
        {"boot": {}},
        {"eagerness": [7.0]},
        {"keeping": [0.0, 6.0, 1e9, 6.0, 2.0, -1.0, 3.0]},
    ],
)
def test_rubbish_in_a_memory_is_passed_over(rubbish: dict[str, object]) -> None:
    policy = Policy.restore(ScaleRule(wait=30.0), rubbish)
    assert policy.decide(told(0.0, 3)).target == 3
    assert policy.save()["keeping"] == []


def test_another_objective_keeps_what_was_learnt() -> None:
    policy = taught(boot=4.0, took=2.0, wait=30.0)
    before = policy.save()
    policy.retune(ScaleRule(wait=5.0))
    assert policy.save()["service"] == before["service"]
    assert policy.save()["boot"] == before["boot"]
    assert policy.decide(later(1001.0, 30, took=2.0)).target > 5


def test_counts_that_begin_again_do_no_harm() -> None:
    policy = taught(wait=30.0)
    policy.decide(later(1001.0, 5))
    decision = policy.decide(told(1002.0, 5))
    assert 0 < decision.target <= 5


def test_while_jobs_wait_time_alone_changes_the_answer() -> None:
    policy = taught(wait=30.0)
    assert policy.decide(later(1001.0, 0)).wake_at is None
    assert policy.decide(later(1002.0, 3, busy=1)).wake_at == 1003.0
