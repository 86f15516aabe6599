"""Numbers in pieces of a size that does not grow with the number of workers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from procq.telemetry.family import Family, Kind, Point, pieces


def family(name: str, points: int) -> Family:
    return Family(name, Kind.COUNTER, "s", "Help.", tuple(Point((("slot", str(n)),), n) for n in range(points)))


def test_a_family_goes_on_in_the_next_piece() -> None:
    found = list(pieces([family("a", 3), family("b", 0), family("c", 4)], 5))
    assert [[(each.name, [point.value for point in each.points]) for each in piece] for piece in found] == [
        [("a", [0, 1, 2]), ("c", [0, 1])],
        [("c", [2, 3])],
    ]


@given(st.lists(st.integers(0, 30), max_size=8), st.integers(1, 12))
def test_nothing_is_lost_doubled_or_too_large(sizes: list[int], most: int) -> None:
    families = [family(f"f{n}", size) for n, size in enumerate(sizes)]
    found = list(pieces(families, most))
    told = [(each.name, point) for piece in found for each in piece for point in each.points]
    assert told == [(each.name, point) for each in families for point in each.points]
    sizes = [sum(len(each.points) for each in piece) for piece in found]
    assert all(size == most for size in sizes[:-1]) and all(0 < size <= most for size in sizes)
