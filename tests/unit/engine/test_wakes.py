"""Which queue has to be looked at when."""

from __future__ import annotations

from procq.engine.wakes import Wakes


def test_the_earliest_comes_first() -> None:
    wakes = Wakes()
    wakes.set("b", 2.0)
    wakes.set("a", 1.0)
    assert wakes.next == 1.0
    assert wakes.due(2.0) == ["a", "b"]
    assert wakes.next is None


def test_another_time_replaces_the_first() -> None:
    wakes = Wakes()
    wakes.set("a", 1.0)
    wakes.set("a", 3.0)
    assert wakes.due(2.0) == []
    assert wakes.next == 3.0
    wakes.set("a", 1.5)
    assert wakes.due(5.0) == ["a"]


def test_no_need_any_more() -> None:
    wakes = Wakes()
    wakes.set("a", 1.0)
    wakes.set("a", None)
    assert wakes.next is None
    assert wakes.due(2.0) == []


def test_times_that_were_replaced_do_not_pile_up() -> None:
    wakes = Wakes()
    for at in range(1000):
        wakes.set("a", 1e6 + at % 2)
        wakes.set(f"b{at % 10}", 2e6 + at)
    assert len(wakes._heap) < 200
    assert wakes.due(2e6 - 1) == ["a"]
    assert len(wakes.due(3e6)) == 10
