"""Examples of sharing: what people would expect, aging over time, no swapping, the words, and how much it looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from procq.rules import Claim
from procq.scaling.sharing import AGING, QUANTUM, Grant, Waits, Wish, at_once, share

MB = 1_000_000


def wish(
    queue: str, wanted: int, least: int = 0, *, held: int = 0, busy: int = 0, priority: int = 0, weight: float = 1.0,
    memory: int = 0, cpus: float = 0.0, since: float | None = None,
) -> Wish:  # fmt: skip
    return Wish(queue, wanted, least, held, Claim(priority, weight), memory, cpus, since, busy)


def shared(
    *wishes: Wish,
    workers: int | None = None,
    cpus: float | None = None,
    memory: int | None = None,
    now: float = 0.0,
) -> list[int]:
    grants = share(wishes, workers=workers, cpus=cpus, memory=memory, now=now)
    return [grants[each.queue].workers for each in wishes]


def test_all_get_all_where_it_fits() -> None:
    grants = share([wish("a", 3), wish("b", 5)], workers=8, cpus=None, memory=None, now=0.0)
    assert grants == {"a": Grant("a", 3, ""), "b": Grant("b", 5, "")}
    assert shared(wish("a", 1000), wish("b", 1)) == [1000, 1]


@pytest.mark.parametrize(
    ("wishes", "workers", "expected"),
    [
        ([wish("a", 9), wish("b", 9)], 8, [4, 4]),
        ([wish("a", 2), wish("b", 9)], 8, [2, 6]),
        ([wish("a", 9, weight=3), wish("b", 9)], 8, [6, 2]),
        ([wish("a", 9, priority=1), wish("b", 9)], 8, [8, 0]),
        ([wish("a", 5, priority=1), wish("b", 9)], 8, [5, 3]),
        ([wish("a", 9, priority=1), wish("b", 9, 2)], 8, [6, 2]),
        ([wish("a", 9, priority=1), wish("b", 9, held=5, busy=3)], 8, [5, 3]),
        ([wish("a", 9, priority=1), wish("b", 2, held=5, busy=5)], 8, [6, 2]),
        ([wish("a", 9, 9), wish("b", 9, 1)], 8, [9, 1]),
        ([wish("a", 9), wish("b", 9)], 0, [0, 0]),
    ],
)
def test_workers(wishes: Sequence[Wish], workers: int, expected: list[int]) -> None:
    assert shared(*wishes, workers=workers) == expected


def test_the_example_of_the_paper_on_dominant_resources() -> None:
    """Ghodsi et al. 2011, section 4.1: 9 cores and 18 GB; tasks of 1 core and 4 GB, and of 3 cores and 1 GB."""
    a = wish("a", 99, memory=4000 * MB, cpus=1.0)
    b = wish("b", 99, memory=1000 * MB, cpus=3.0)
    assert shared(a, b, cpus=9.0, memory=18_000 * MB) == [3, 2]


def test_who_is_small_uses_what_is_left() -> None:
    large, small = wish("large", 9, priority=1, memory=400 * MB), wish("small", 9, memory=50 * MB)
    assert shared(large, small, memory=1000 * MB) == [2, 4]


def test_what_drains_counts_until_it_has_ended() -> None:
    wishes = [wish("a", 9, memory=100 * MB), wish("b", 9, memory=100 * MB)]
    for workers, memory, draining, expected in (
        (8, None, {"a": 1, "removed": 3}, {"a": 4, "b": 0}),
        (None, 800 * MB, {"a": 2, "removed": 3}, {"a": 4, "b": 2}),
    ):
        grants = share(wishes, workers=workers, cpus=None, memory=memory, now=0.0)
        assert [grants["a"].workers, grants["b"].workers] == [4, 4], "they have nobody to give for those who leave"
        counts = at_once(wishes, grants, workers=workers, cpus=None, memory=memory, draining=draining)
        assert counts == expected


def test_the_words() -> None:
    emails = wish("emails", 12, memory=300 * MB, cpus=1.0)
    for budget, what in (
        ({"memory": 2500 * MB}, "memory budget"),
        ({"cpus": 8.5}, "cpu budget"),
        ({"workers": 8}, "worker budget"),
    ):
        given = {"workers": None, "cpus": None, "memory": None} | budget
        assert share([emails], now=0.0, **given)["emails"] == Grant("emails", 8, f"wants 12, has 8: {what}")


def test_minima_that_do_not_fit_are_given_and_told() -> None:
    wishes = [wish("a", 2, 2, memory=600 * MB), wish("b", 5, 1, priority=1, memory=600 * MB), wish("c", 1, memory=0)]
    grants = share(wishes, workers=None, cpus=None, memory=1000 * MB, now=0.0)
    assert grants["a"] == Grant("a", 2, "has its least, 2, beyond the memory budget")
    assert grants["b"] == Grant("b", 1, "wants 5, has 1: memory budget")
    assert grants["c"] == Grant("c", 1, "")
    busy = share([wish("a", 2, held=2, busy=2)], workers=1, cpus=None, memory=None, now=0.0)
    assert busy["a"].short == "has 2, as many as are busy, beyond the worker budget"


def test_equals_do_not_swap_the_odd_worker() -> None:
    a, b = wish("a", 5, held=1), wish("b", 5, held=2)
    assert shared(a, b, workers=3) == [1, 2]
    # Nor where measured sizes vary.
    for size in (90, 110):
        a, b = replace(a, memory=100 * MB), replace(b, memory=size * MB)
        assert shared(a, b, memory=330 * MB)[1] == 2


def test_a_worker_moves_to_who_is_far_behind() -> None:
    assert shared(wish("a", 5, held=4), wish("b", 5), workers=4) == [2, 2]


def test_a_starving_queue_gets_its_first_worker_when_it_has_waited_long_enough() -> None:
    above, below = wish("above", 9, priority=5, held=4), wish("below", 9, since=0.0)
    assert shared(above, below, workers=4, now=5 * AGING - 1) == [4, 0]
    assert shared(above, below, workers=4, now=6 * AGING) == [3, 1]
    # However long that is, and never from who is busy.
    assert shared(above, below, workers=4, now=500 * AGING) == [3, 1]
    assert shared(replace(above, busy=4), below, workers=4, now=500 * AGING) == [4, 0]


def test_of_equals_who_has_waited_longest_comes_first() -> None:
    assert shared(wish("a", 1, since=30.0), wish("b", 1, since=20.0), workers=1, now=40.0) == [0, 1]


def test_who_is_not_there_is_not_busy() -> None:
    assert shared(wish("a", 9, priority=1), wish("b", 9, held=1, busy=5), workers=4) == [3, 1]


def live(wishes: list[Wish], workers: int, seconds: int) -> list[list[int]]:
    """Who has how many, each second, when grants are carried out at once and nobody is ever at a job."""
    waits, seen = Waits(), []
    for now in range(seconds):
        since = waits.look(wishes, now)
        wishes = [replace(each, waiting_since=since.get(each.queue)) for each in wishes]
        grants = share(wishes, workers=workers, cpus=None, memory=None, now=now)
        counts = at_once(wishes, grants, workers=workers, cpus=None, memory=None)
        wishes = [replace(each, held=counts[each.queue]) for each in wishes]
        seen.append([each.held for each in wishes])
    return seen


def runs(counts: list[int]) -> list[tuple[int, int]]:
    """How many there were, and for how many seconds."""
    edges = [0, *(n for n in range(1, len(counts)) if counts[n] != counts[n - 1]), len(counts)]
    return [(counts[a], b - a) for a, b in pairwise(edges)]


def test_over_time_a_starving_queue_has_its_turns_and_keeps_them_for_a_while() -> None:
    seen = live([wish("above", 9, priority=3), wish("below", 9)], 1, 1200)
    turns = runs([below for _, below in seen])
    assert [length for count, length in turns if count][:-1]
    assert all(length >= QUANTUM for count, length in turns[:-1] if count)
    assert all(length <= 4 * AGING + 10 for count, length in turns if not count)
    assert max(above for above, _ in seen) == 1


def test_ten_equal_queues_take_turns_on_three_workers() -> None:
    seen = live([wish(f"q{n}", 2) for n in range(10)], 3, 1200)
    for queue in zip(*seen, strict=True):
        assert sum(queue) > 150
        assert all(length >= QUANTUM for count, length in runs(list(queue))[1:-1] if count)
    assert all(sum(counts) <= 3 for counts in seen)


def test_what_is_given_waits_for_what_has_to_go() -> None:
    wishes = [wish("high", 8, priority=1), wish("low", 8, held=6)]
    grants = share(wishes, workers=8, cpus=None, memory=None, now=0.0)
    assert [grants["high"].workers, grants["low"].workers] == [8, 0]
    assert at_once(wishes, grants, workers=8, cpus=None, memory=None) == {"high": 2, "low": 0}
    gone = [wish("high", 8, priority=1, held=2), wish("low", 8)]
    assert at_once(gone, grants, workers=8, cpus=None, memory=None, draining={"low": 6}) == {"high": 2, "low": 0}
    assert at_once(gone, grants, workers=8, cpus=None, memory=None, draining={"low": 2}) == {"high": 6, "low": 0}


def test_what_waited_is_forgotten_when_nothing_is_wanted() -> None:
    waits = Waits()
    assert waits.look([wish("a", 1)], 5.0) == {"a": 5.0}
    assert waits.look([wish("a", 1)], 9.0) == {"a": 5.0}
    assert waits.look([wish("a", 0)], 10.0) == {}
    assert waits.look([wish("a", 2)], 11.0) == {"a": 11.0}
    assert waits.look([wish("a", 2, held=1)], 12.0) == {"a": 11.0}
    assert waits.look([wish("a", 2, held=1)], 12.0 + QUANTUM) == {}


def test_a_turn_begins_when_the_worker_has_started() -> None:
    waits, starting = Waits(), replace(wish("a", 1, held=1), starting=1)
    waits.look([wish("a", 1)], 5.0)
    for now in (6.0, 6.0 + 2 * QUANTUM):
        assert waits.look([starting], now) == {"a": 5.0}
    ready = 7.0 + 2 * QUANTUM
    assert waits.look([wish("a", 1, held=1)], ready) == {"a": 5.0}
    assert waits.look([wish("a", 1, held=1)], ready + QUANTUM - 1) == {"a": 5.0}
    assert waits.look([wish("a", 1, held=1)], ready + QUANTUM) == {}


def test_a_worker_that_has_ended_before_it_started_has_had_its_turn() -> None:
    waits, starting = Waits(), replace(wish("a", 1, held=1), starting=1)
    waits.look([wish("a", 1)], 5.0)
    waits.look([starting], 6.0)
    assert waits.look([wish("a", 1)], 10.0) == {"a": 5.0}
    assert waits.look([starting], 10.0 + QUANTUM - 1) == {"a": 5.0}
    assert waits.look([starting], 10.0 + QUANTUM) == {}
    assert waits.look([wish("a", 1)], 11.0 + QUANTUM) == {"a": 11.0 + QUANTUM}
    assert waits.look([wish("a", 1)], 99.0 + QUANTUM) == {"a": 11.0 + QUANTUM}


def test_a_queue_whose_workers_fail_tries_one_in_its_turn_and_more_on_what_is_left() -> None:
    fails = replace(wish("fails", 4, priority=5), failing=True)
    assert shared(fails, wish("low", 4, held=4), workers=4) == [1, 3]
    assert shared(fails, wish("low", 2, held=2), workers=4) == [2, 2]
    assert shared(replace(fails, least=2), wish("low", 4, held=4), workers=4) == [2, 2]
    assert shared(fails, wish("low", 4, held=4), workers=8) == [4, 4]
    assert shared(fails, replace(wish("also", 4, priority=6), failing=True), wish("low", 1), workers=4) == [1, 2, 1]
    grants = share([fails, wish("low", 4)], workers=4, cpus=None, memory=None, now=0.0)
    assert grants["fails"].short == "wants 4, has 1: worker budget; its workers fail, so that others come first"


def test_nothing_is_remembered_of_queues_that_are_gone() -> None:
    waits = Waits()
    waits.look([wish("a", 1)], 5.0)
    assert waits.look([], 99.0) == {}
