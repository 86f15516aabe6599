"""Which of many jobs are looked at, where not all are."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from procq.scaling.sources.keys import scaled, spread

COUNTS = st.integers(0, 10_000_000)


@given(COUNTS, COUNTS, st.integers(2, 100), st.integers(1, 20))
def test_so_many_are_looked_at_over_the_whole_length(first: int, count: int, groups: int, each: int) -> None:
    spans = spread(first, count, groups * each, each)
    places = [place for since, until in spans for place in range(since, until + 1)]
    assert places == sorted(set(places)), "none twice"
    assert len(places) == min(count, groups * each)
    if places:
        assert (places[0], places[-1]) == (first, first + count - 1)
    for before, after in pairwise(spans):
        assert after[0] - before[1] <= count // (groups - 1) + 1, "nowhere is more passed over than elsewhere"


def test_what_is_seen_stands_for_the_rest() -> None:
    assert [scaled(3, 10, 10), scaled(3, 10, 1000), scaled(0, 10, 1000), scaled(0, 0, 1000)] == [3, 300, 0, 0]
