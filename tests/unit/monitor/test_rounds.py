"""When who is asked, and how many bad answers are enough."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from procq.model import WorkerId
from procq.monitor.rounds import FIRST_WAIT, LONGEST_WAIT, Row, longer, next_turn


def test_faults_43_a_thousand_workers_are_asked_all_over_the_period() -> None:
    turns = [next_turn(WorkerId("emails", slot), 10.0, 1000.0) for slot in range(1, 1001)]
    assert all(1000.0 < turn <= 1010.0 for turn in turns)
    a_second = Counter(int(turn) for turn in turns)
    assert len(a_second) >= 10
    assert max(a_second.values()) < 150


@given(st.integers(1, 10_000), st.floats(0.1, 86_400), st.floats(0, 10**7))
def test_the_next_turn_is_later_and_at_most_one_period_away(slot: int, every: float, after: float) -> None:
    turn = next_turn(WorkerId("q", slot), every, after)
    assert after < turn <= after + every * 1.001


@given(st.integers(1, 100), st.floats(0.1, 3_600), st.floats(0, 10**6), st.floats(0, 1))
def test_who_asks_and_since_when_does_not_move_the_turns(slot: int, every: float, after: float, part: float) -> None:
    worker = WorkerId("q", slot)
    turn = next_turn(worker, every, after)
    between = after + (turn - after) * part * 0.99
    assert abs(next_turn(worker, every, between) - turn) < every * 1e-6


def test_waits_grow_to_a_second() -> None:
    waits = [FIRST_WAIT]
    while waits[-1] < LONGEST_WAIT:
        waits.append(longer(waits[-1]))
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (0.05, 1.0)
    assert sum(waits) < 5


def test_bad_answers_count_only_in_a_row() -> None:
    row = Row()
    assert [row.add(good, 3) for good in (False, False, True, False, False, False, False)] == [0, 0, 0, 0, 0, 3, 4]
    row.clear()
    assert row.add(False, 1) == 1


def test_an_answer_that_says_nothing_neither_counts_nor_interrupts() -> None:
    row = Row()
    assert [row.add(good, 2) for good in (False, None, None, False)] == [0, 0, 0, 2]
