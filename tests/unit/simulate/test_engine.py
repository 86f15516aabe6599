"""The simulator: against queueing theory, and by cases that are counted by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from procq.rules import ScaleRule
from procq.scaling.budget import Budget
from procq.scaling.signals import Signals
from procq.simulate.engine import Procq, Settings, simulate, simulate_one
from procq.simulate.load import Failures, Load, exponential
from procq.simulate.queue import Leave
from procq.simulate.synthetic import LOADS, named, poisson


class Always:
    """As many workers for each queue at each time as it is told."""

    def __init__(self, *targets: int, leave: Leave = Leave.IDLE, grace: float = math.inf) -> None:
        self.leave, self.grace = leave, grace
        self._targets = targets
        self.seen: list[Signals] = []

    def targets(self, signals: Sequence[Signals]) -> Sequence[int]:
        self.seen.append(signals[0])
        return [self._targets[min(len(self.seen), len(self._targets)) - 1]] * len(signals)


def erlang_c(workers: int, load: float) -> float:
    """The probability that a job has to wait, for Poisson arrivals and exponential service."""
    terms = [load**k / math.factorial(k) for k in range(workers)]
    last = load**workers / math.factorial(workers) * workers / (workers - load)
    return last / (sum(terms) + last)


def some(arrivals: Sequence[float], takes: float = 2.0, **more: object) -> Load:
    load = Load("some", arrivals, [takes] * len(arrivals), 30.0, wait=5.0)
    return replace(load, **more)  # type: ignore[arg-type]


NO_BOOT = Settings(boot=1e-9)


@pytest.mark.parametrize(("workers", "rate"), [(1, 0.6), (4, 3.2)])
def test_steady_queues_wait_as_erlang_says(workers: int, rate: float) -> None:
    waited = mean = 0.0
    rounds = 4
    for seed in range(rounds):
        dice = random.Random(seed)
        # Twenty times as quick as that, which is the same queue with fewer ticks.
        times = poisson(dice, lambda _: 20 * rate, 20 * rate, 3000 / rate)
        load = Load("steady", times, exponential(dice, 0.05, len(times)), 3000 / rate)
        (result,) = simulate([load], Always(workers), NO_BOOT)
        waited += sum(wait > 1e-6 for wait in result.waits) / len(result.waits) / rounds
        mean += 20 * sum(result.waits) / len(result.waits) / rounds
    expected = erlang_c(workers, rate)
    assert waited == pytest.approx(expected, rel=0.02)
    assert mean == pytest.approx(expected / (workers - rate), rel=0.05)


def test_jobs_are_taken_in_turn() -> None:
    (result,) = simulate([some([1.0, 1.0, 1.0])], Always(1), NO_BOOT)
    assert list(result.waits) == [0.0, 2.0, 4.0]
    assert (result.work, result.worker_seconds, result.spawns) == (6.0, 30.0, 1)
    assert result.attained == 1.0


def test_a_worker_takes_several_jobs_at_a_time() -> None:
    (result,) = simulate([some([1.0] * 4, concurrency=4)], Always(1), NO_BOOT)
    assert list(result.waits) == [0.0] * 4
    assert result.work == 2.0


def test_workers_are_paid_from_asking_for_them() -> None:
    (result,) = simulate([some([])], Always(2, 2, 2, 2, 0), Settings(boot=1.0))
    assert result.worker_seconds == 2 * 4.0
    assert (result.spawns, result.reversals, result.peak) == (2, 1, 2)


def test_idle_workers_alone_are_stopped() -> None:
    (result,) = simulate([some([0.5], takes=10.0)], Always(2, 2, 2, 0), NO_BOOT)
    assert result.worker_seconds == pytest.approx(3.0 + 11.0, abs=0.1)
    assert result.interrupted == 0


def test_others_cut_jobs_after_a_grace() -> None:
    (result,) = simulate([some([0.5], takes=10.0)], Always(1, 1, 0, leave=Leave.YOUNGEST, grace=3.0), NO_BOOT)
    assert result.interrupted == 1


@pytest.mark.parametrize(("leave", "interrupted"), [(Leave.IDLE, 0), (Leave.BETWEEN_JOBS, 0), (Leave.AT_ONCE, 1)])
def test_who_cannot_be_parked_is_interrupted(leave: Leave, interrupted: int) -> None:
    (result,) = simulate([some([0.5], takes=10.0)], Always(2, 2, 2, 0, leave=leave), NO_BOOT)
    assert (result.interrupted, result.work) == (interrupted, 10.0)


def test_procq_interrupts_nobody_and_would_be_seen_to() -> None:
    class Hasty(Procq):
        """Takes one more worker away than it may."""

        def targets(self, signals: Sequence[Signals]) -> Sequence[int]:
            return [max(0, target - 1) for target in super().targets(signals)]

    load = named("step", 0)
    rules = [ScaleRule(wait=load.wait)]
    assert simulate([load], Procq(rules), Settings())[0].interrupted == 0
    assert simulate([load], Hasty(rules), Settings())[0].interrupted > 0


def test_workers_that_finish_what_they_have_are_still_there() -> None:
    parked = Always(1, 1, 1, 0, leave=Leave.BETWEEN_JOBS)
    (result,) = simulate([some([0.5], takes=10.0)], parked, replace(NO_BOOT, moments=2))
    seen = [(moment.at, moment.workers, moment.draining) for moment in result.moments]
    assert seen[:3] == [(0.0, 1, 0), (2.0, 1, 0), (4.0, 0, 1)]
    assert seen[5:7] == [(10.0, 0, 1), (12.0, 0, 0)]


def test_jobs_that_never_start_are_late() -> None:
    (result,) = simulate([some([1.0, 2.0, 28.0])], Always(0), NO_BOOT)
    assert (result.left, result.jobs, result.attained) == (2, 2, 0.0)


def test_a_source_that_fails_is_stale_after_three_polls() -> None:
    fleet = Always(1)
    simulate([some([], outages=((10.0, 20.0),))], fleet, NO_BOOT)
    stale = [signals.now for signals in fleet.seen if signals.stale]
    assert (stale[0], stale[-1]) == (13.0, 20.0)
    assert fleet.seen[15].poll is not None
    assert fleet.seen[15].poll.at < 10.0


def test_jobs_that_are_due_soon_are_told_before() -> None:
    fleet = Always(0)
    simulate([some([20.0, 20.0], due=[20.0, 20.0])], fleet, Settings(boot=4.0))
    told = [signals.now for signals in fleet.seen if signals.poll is not None and signals.poll.soon]
    assert (told[0], told[-1]) == (16.0, 20.0)


def test_failed_jobs_come_again() -> None:
    load = some([1.0], takes=1.0, failures=Failures(0.0, 20.0, 1.0, attempts=3, pause=2.0))
    (result,) = simulate([load], Always(1), NO_BOOT)
    # Begun at 1, again 2 s after its end at 2, and 4 s after that at 5.
    assert (len(result.waits), result.work) == (3, 3.0)


def test_a_rollout_replaces_every_worker() -> None:
    (result,) = simulate([some([], rollouts=(10.0,))], Always(4), Settings(boot=1.0))
    assert result.spawns == 8
    assert 120.0 < result.worker_seconds < 130.0


@pytest.mark.parametrize("name", ["flash", "cliff"])
def test_the_same_arguments_give_the_same_results(name: str) -> None:
    runs = [simulate_one(named(name, 3), ScaleRule(wait=30.0), Settings(seed=2)) for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0] != simulate_one(named(name, 4), ScaleRule(wait=30.0), Settings(seed=2))


@pytest.mark.parametrize("name", ["step", "long-jobs", "failing-source", "roll-out", "several"])
def test_the_policy_meets_its_objective_without_interrupting_anybody(name: str) -> None:
    load = named(name, 1)
    result = simulate_one(load, ScaleRule(wait=load.wait), Settings(boot=3.0, seed=1))
    assert result.attained >= 0.95
    assert result.interrupted == 0
    assert result.ratio < 1.4


def test_queues_that_are_cut_know_it() -> None:
    load = some([float(at) for at in range(25)], takes=10.0)
    fleet = Procq([ScaleRule(wait=5.0)], Budget(workers=2))
    (result,) = simulate([load], fleet, Settings(boot=1.0))
    assert result.peak == 2
    assert fleet.refused == [True]


def test_workers_that_can_be_parked_leave_between_two_jobs() -> None:
    load = some([0.5, 0.5], takes=10.0)
    (result,) = simulate([load], Always(2, 2, 1, leave=Leave.BETWEEN_JOBS), NO_BOOT)
    # One leaves at 10.5 instead of 30.
    assert result.worker_seconds == pytest.approx(30.0 + 10.5, abs=0.1)
    assert (result.interrupted, len(result.waits)) == (0, 2)


def test_every_load_is_sound() -> None:
    for name in LOADS:
        load = named(name, 0)
        assert len(load.arrivals) == len(load.services) > 500
        assert list(load.arrivals) == sorted(load.arrivals)
        assert load.arrivals[-1] < load.seconds
