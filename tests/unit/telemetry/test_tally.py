"""What is only told while it happens: starts, ends, decisions, processor time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from procq.endings import ExitStatus, SpawnFailure
from procq.engine.view import StateView
from procq.events import BecameReady, Event, Executing, Exited, Forgotten, SpawnFailed, SpawnRequested, StopRequested
from procq.meter import Load
from procq.model import WorkerId
from procq.scaling.policy import Decision, Signals
from procq.state import Observed, QueueState, Running, Settings
from procq.telemetry.histogram import LAGS, STARTS, Histogram
from procq.telemetry.tally import Cause, Limit, Tally
from tests.queues import EMAILS_1, EMAILS_2, queue

SETTINGS = Settings.of(queue())


def asked(at: float, worker: WorkerId = EMAILS_1, generation: int = 1) -> Event:
    return SpawnRequested(worker, generation, "f", SETTINGS, at, "the queue wants it")


def told(*events: tuple[float, Event]) -> Tally:
    tally = Tally()
    for now, event in events:
        tally.happened([event], now)
    return tally


def of_emails(tally: Tally) -> Any:
    return tally.counts().queues["emails"]


def places(bounds: Sequence[float], *bound: float) -> tuple[int, ...]:
    """How often each bound stands in `bound`; the last place is for infinity."""
    return tuple(bound.count(each) for each in (*bounds, float("inf")))


def test_a_start_takes_until_execution_and_then_until_readiness() -> None:
    tally = told(
        (100.0, asked(100.0)),
        (100.0125, Executing(EMAILS_1, 1, 7, 100.0117)),
        (103.0, BecameReady(EMAILS_1, 1, 102.5117)),
        (104.0, BecameReady(EMAILS_1, 1, 104.0)),
        (110.0, asked(110.0, EMAILS_2, 2)),
        (400.0, Executing(EMAILS_2, 2, 8, 399.999)),
        (400.0, BecameReady(EMAILS_2, 2, 399.999)),
    )
    found = of_emails(tally)
    assert found.spawns.counts == places(STARTS, 0.02, float("inf"))
    assert found.spawns.total == pytest.approx(0.0117 + 289.999)
    assert found.boots.counts == places(STARTS, 5.0), "who is ready at once has no boot"
    assert found.boots.total == pytest.approx(2.5)
    lag = tally.counts().lag
    assert lag is not None and lag.counts == places(LAGS, 0.001, 0.001)


def test_an_execution_of_which_the_request_is_not_known_has_taken_nobody_knows_how_long() -> None:
    tally = told((100.0, Executing(EMAILS_1, 1, 7, 99.0)), (101.0, BecameReady(EMAILS_1, 1, 101.0)))
    assert tally.counts().queues == {}


@pytest.mark.parametrize(
    ("code", "oom", "stop", "cause"),
    [
        (0, False, None, Cause.COMPLETED),
        (3, False, None, Cause.FAILED),
        (-9, False, None, Cause.KILLED),
        (-9, True, None, Cause.MEMORY),
        (0, False, {}, Cause.ASKED),
        (-15, False, {}, Cause.ASKED),
        (-15, False, {"fault": "unhealthy"}, Cause.FAULT),
        (0, False, {"limit": "memory limit"}, Cause.LIMIT),
    ],
)
def test_causes_of_ends(code: int, oom: bool, stop: dict[str, str] | None, cause: Cause) -> None:
    stopping: list[tuple[float, Event]] = []
    if stop is not None:
        stopping = [(2.0, StopRequested(EMAILS_1, 1, 9.0, 2.0, "why", **stop))]  # type: ignore[arg-type]
    tally = told(
        (1.0, asked(1.0)),
        (1.0, Executing(EMAILS_1, 1, 7, 1.0)),
        *stopping,
        (3.0, Exited(EMAILS_1, 1, ExitStatus(code, oom), 3.0)),
    )
    assert of_emails(tally).exits == {cause: 1}


def test_what_was_asked_of_one_is_not_asked_of_the_next() -> None:
    tally = told(
        (1.0, asked(1.0)),
        (2.0, StopRequested(EMAILS_1, 1, 9.0, 2.0, "why")),
        (3.0, asked(3.0, generation=2)),
        (4.0, Exited(EMAILS_1, 2, ExitStatus(1), 4.0)),
        (5.0, asked(5.0, generation=3)),
        (5.0, SpawnFailed(EMAILS_1, 3, SpawnFailure("exec", 2, "x", False), 5.0)),
    )
    assert of_emails(tally).exits == {Cause.FAILED: 1, Cause.NOT_STARTED: 1}


def test_nothing_is_kept_of_slots_that_are_gone() -> None:
    tally = told(
        (1.0, asked(1.0)), (1.5, StopRequested(EMAILS_1, 1, 9.0, 2.0, "why")), (2.0, Forgotten(EMAILS_1, 1, 2.0, ""))
    )
    assert (tally._since, tally._asked) == ({}, {})


# --- scaling --------------------------------------------------------------------------------------------------------


def signals(stale: bool = False) -> Signals:
    return Signals(
        now=1.0, poll=None, stale=stale, started=0, finished=0, job_seconds=0.0, idle=1, busy=3, speaks=True,
        jobs_at_work=3, elapsed=0.0, starting=(), draining=0, boots=(), refused=False, least=1, most=8, concurrency=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "target", "stale", "short", "limit"),
    [
        (4, 4, False, "", Limit.NONE),
        (12, 8, False, "", Limit.MOST),
        (0, 1, False, "", Limit.LEAST),
        (2, 3, False, "", Limit.BUSY),
        (2, 4, True, "", Limit.SOURCE),
        (4, 4, False, "the machine bears no more", Limit.HOST),
    ],
)
def test_what_limits_a_decision(wanted: int, target: int, stale: bool, short: str, limit: Limit) -> None:
    tally = Tally()
    decision = Decision(target, wanted, "because", (), "demand", ())
    for _ in range(3):
        tally.decided("emails", decision, signals(stale), short)
    tally.decided("emails", replace(decision, winner="retention"), signals(stale), short)
    assert of_emails(tally).decisions == {("demand", limit): 3, ("retention", limit): 1}


# --- processor time -------------------------------------------------------------------------------------------------


def view(**generations: int) -> StateView:
    """Slots of `emails`, called s1, s2 …, and the generation in each."""
    workers = {int(slot[1:]): Running(generation, "f", 7, 1.0, None) for slot, generation in generations.items()}
    return StateView(Observed(10.0, {"emails": QueueState(workers)}))


def load(seconds: float) -> Load:
    return Load(0.5, 4096, seconds)


def test_processor_time_only_grows_and_begins_with_the_first_look() -> None:
    tally = Tally()
    tally.used({EMAILS_1: load(100.0)}, view(s1=1))
    assert tally.counts().cpu == {EMAILS_1: 0.0}
    tally.used({EMAILS_1: load(101.5), EMAILS_2: load(0.25)}, view(s1=1, s2=2))
    assert tally.counts().cpu == {EMAILS_1: 1.5, EMAILS_2: 0.25}
    # A child has ended that nobody waited for.
    tally.used({EMAILS_1: load(90.0), EMAILS_2: load(0.25)}, view(s1=1, s2=2))
    tally.used({EMAILS_1: load(91.0), EMAILS_2: load(0.25)}, view(s1=1, s2=2))
    assert tally.counts().cpu == {EMAILS_1: 2.5, EMAILS_2: 0.25}


def test_the_next_worker_of_a_slot_adds_to_it() -> None:
    tally = Tally()
    tally.used({EMAILS_1: load(5.0)}, view(s1=1))
    tally.used({EMAILS_1: load(6.0)}, view(s1=2))
    assert tally.counts().cpu == {EMAILS_1: 6.0}
    tally.used({}, view())
    assert tally.counts().cpu == {}, "a slot that is gone has none"


# --- bounds ---------------------------------------------------------------------------------------------------------


def test_queues_that_are_gone_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("procq.telemetry.tally._MOST_QUEUES", 3)
    tally = Tally()
    for number in range(5):
        worker = WorkerId(f"q{number}", 1)
        tally.happened([Exited(worker, 1, ExitStatus(0), 1.0)], 1.0)
    assert list(tally.counts().queues) == ["q2", "q3", "q4"]


def test_a_histogram_without_anything_is_none_and_a_bound_belongs_to_its_place() -> None:
    histogram = Histogram((1.0, 2.0))
    assert histogram.buckets() is None
    for value in (-1.0, 1.0, 1.5, 2.0, 2.1):
        histogram.add(value)
    found = histogram.buckets()
    assert found is not None and (found.counts, found.total, found.number) == ((2, 2, 1), 6.6, 5)
