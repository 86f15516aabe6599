"""Whether a source can be believed, and when it is asked again."""

from __future__ import annotations

import math

import pytest

from procq.scaling.reading import Reading
from procq.scaling.sources import Kind, SourceError
from procq.scaling.sources.health import CONFIRM, LONGEST, SHORTEST, State, Watch

REFUSED = SourceError(Kind.REFUSED, "nobody is there")


def polls(watch: Watch, now: float, count: int, reading: Reading | None) -> list[float]:
    """How long it waits before each of so many polls, all with this result."""
    waits = []
    for _ in range(count):
        if reading is None:
            watch.failed(REFUSED, now)
        else:
            watch.succeeded(reading, now)
        at = watch.next_poll(now)
        waits.append(at - now)
        now = at
    return waits


def test_the_first_poll_is_at_once() -> None:
    assert Watch("redis", 100.0).next_poll(100.0) == 100.0


def test_it_asks_every_second_while_there_is_work() -> None:
    for busy in (Reading(3), Reading(0, running=1), Reading(0, delayed=1)):
        waits = polls(Watch("redis", 0.0), 0.0, 10, busy)
        assert waits[1:] == pytest.approx([SHORTEST] * 9)


def test_it_asks_less_while_there_is_none_and_at_once_again() -> None:
    watch = Watch("redis", 0.0)
    waits = polls(watch, 0.0, 10, Reading(0, 0))
    assert waits[1:] == sorted(waits[1:])
    assert waits[-1] == pytest.approx(LONGEST)
    assert polls(watch, 50.0, 3, Reading(1, 0))[1:] == pytest.approx([SHORTEST] * 2)


def test_queues_of_a_server_are_asked_at_the_same_moments() -> None:
    first, second, other = Watch("a", 0.0), Watch("a", 0.4), Watch("b", 0.0)
    for watch, at in ((first, 10.0), (second, 10.3), (other, 10.0)):
        watch.succeeded(Reading(1), at)
    moments = [watch.next_poll(10.3) % 1.0 for watch in (first, second, other)]
    assert moments[0] == pytest.approx(moments[1])
    assert moments[0] != pytest.approx(moments[2])


def test_it_goes_stale_and_opens_and_recovers() -> None:
    watch = Watch("redis", 0.0)
    watch.succeeded(Reading(7), 0.0)
    states = []
    for failures in range(1, 6):
        watch.failed(REFUSED, float(failures))
        states.append(watch.state)
    assert states == [State.FRESH, State.FRESH, State.STALE, State.STALE, State.OPEN]
    assert (watch.reading, watch.age(5.0), watch.error) == (Reading(7), 5.0, REFUSED)
    watch.succeeded(Reading(8), 6.0)
    assert (watch.state, watch.reading, watch.age(6.0), watch.error) == (State.FRESH, Reading(8), 0.0, None)


def test_probes_become_rare() -> None:
    waits = polls(Watch("redis", 0.0), 0.0, 20, None)
    assert all(wait <= 1.5 for wait in waits[:4])
    for wait, wanted in zip(waits[4:10], (5, 10, 20, 40, 60, 60), strict=True):
        assert wanted * 0.8 <= wait <= wanted * 1.2
    assert waits == polls(Watch("redis", 0.0), 0.0, 20, None), "it can be repeated"
    assert waits != polls(Watch("other", 0.0), 0.0, 20, None), "not all come back at the same moment"


@pytest.mark.parametrize(
    "reading",
    [
        Reading(math.nan),
        Reading(math.inf),
        Reading(-1),
        Reading(1, running=-1),
        Reading(1, delayed=-3),
        Reading(1, oldest=math.nan),
        Reading(1, oldest=-1.0),
        Reading(1, soon=-1.0),
    ],
)
def test_what_cannot_be_is_a_failure(reading: Reading) -> None:
    watch = Watch("redis", 0.0)
    watch.succeeded(Reading(5), 0.0)
    assert watch.succeeded(reading, 1.0) is None
    assert watch.reading == Reading(5)
    assert watch.failures == 1
    assert watch.error is not None
    assert watch.error.kind is Kind.GARBAGE


@pytest.mark.parametrize(("last", "jump"), [(20, 2_001), (0, 1_001), (1_001, 0)])
def test_a_jump_counts_when_it_is_said_twice(last: int, jump: int) -> None:
    watch = Watch("redis", 0.0)
    watch.succeeded(Reading(last), 0.0)
    assert watch.succeeded(Reading(jump), 1.0) is None
    assert watch.reading == Reading(last)
    assert watch.state is State.FRESH
    assert watch.next_poll(1.0) == 1.0 + CONFIRM
    assert watch.succeeded(Reading(jump), 2.0) == Reading(jump)
    assert watch.age(2.0) == 0.0


@pytest.mark.parametrize(("last", "reading"), [(20, 1_019), (1_000, 0), (1_500, 100_000), (11, 1_010), (5, 0)])
def test_other_changes_count_at_once(last: int, reading: int) -> None:
    watch = Watch("redis", 0.0)
    watch.succeeded(Reading(last), 0.0)
    assert watch.succeeded(Reading(reading), 1.0) == Reading(reading)


def test_a_jump_that_is_not_said_again_never_counts() -> None:
    watch = Watch("redis", 0.0)
    watch.succeeded(Reading(5_000), 0.0)
    for at in range(1, 9):
        assert watch.succeeded(Reading(0 if at % 2 else 1_000_000), float(at)) is None
    assert watch.succeeded(Reading(5_001), 10.0) == Reading(5_001)
    assert watch.succeeded(Reading(0), 11.0) is None
    watch.failed(REFUSED, 12.0)
    assert watch.succeeded(Reading(0), 13.0) is None, "what was said before a failure is not confirmed after it"


def test_the_first_reading_counts() -> None:
    assert Watch("redis", 0.0).succeeded(Reading(1_000_000), 0.0) == Reading(1_000_000)
