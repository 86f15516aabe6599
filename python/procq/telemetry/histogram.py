"""Numbers counted by how large they are. Pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Final

STARTS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Seconds up to which a start, or a part of one, is counted in each place."""
LAGS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
"""Seconds up to which the control loop may lag behind, likewise."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram at one moment. `counts` has one place more than `bounds`, for what is larger than all of them.

    Each number stands in one place only: they are not cumulative. `total` is the sum of what was counted.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def number(self) -> int:
        """How many were counted."""
        return sum(self.counts)


class Histogram:
    """One that grows."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float) -> None:
        """Counts one more; what is below nothing counts as nothing."""
        value = max(0.0, value)
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def buckets(self) -> Buckets | None:
        """All of it; None while nothing was counted."""
        return Buckets(self._bounds, tuple(self._counts), self._total) if any(self._counts) else None
