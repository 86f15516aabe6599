"""How many workers past bursts would have taken, so that the next one meets them ready. Pure.

An arrival curve as in network calculus (Le Boudec and Thiran, "Network Calculus", 2001), learnt: for windows of
several lengths, how much work came within one, and how many workers finish that within the window and the objective.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

_MEMORY: Final = 2000.0
"""Jobs over which a burst is forgotten to a third."""
_STEPS: Final = 16
"""Points that one window is divided into."""
_FINE: Final = 64
"""Levels are exact up to here, and then a twentieth apart."""
_GROWN: Final = 1e100


class _Window:
    """How many jobs came within the last `seconds`, to a sixteenth of them."""

    __slots__ = ("_points", "_step", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._step = seconds / _STEPS
        self._points: deque[tuple[float, float]] = deque()

    def arrivals(self, at: float, total: float) -> float:
        points = self._points
        if len(points) >= 2 and at - points[-2][0] < self._step:
            points.pop()
        points.append((at, total))
        while len(points) > 1 and at - points[1][0] >= self.seconds:
            points.popleft()
        return max(0.0, total - points[0][1])

    def rebase(self, total: float) -> None:
        """The count has fallen to `total`."""
        self._points = deque((at, min(count, total)) for at, count in self._points)


class Envelope:
    """The distribution of the workers needed, weighted by the jobs that needed them."""

    __slots__ = ("_goal", "_scale", "_weights", "_windows")

    def __init__(self, goal: float) -> None:
        self._goal = goal
        self._weights: dict[int, float] = {}
        self._scale = 1.0
        self._windows = tuple(_Window(width) for width in (max(1.0, goal / 4), goal, 4 * goal, 16 * goal))

    def learn(self, at: float, total: float, came: float, service: float) -> None:
        """`came` more jobs had come by `at`, `total` altogether; a job takes `service` seconds."""
        need = 0.0
        for window in self._windows:
            need = max(need, window.arrivals(at, total) / (window.seconds + self._goal))
        if came <= 0 or not math.isfinite(service):
            return
        level = _level(min(need * service, 1e9))
        # Growing what is new is the same as shrinking all that is old.
        self._scale *= math.exp(min(came, 100 * _MEMORY) / _MEMORY)
        self._weights[level] = self._weights.get(level, 0.0) + came * self._scale
        if self._scale > _GROWN:
            self._shrink()

    def fell(self, total: float) -> None:
        """Jobs vanished without a start: only `total` have come."""
        for window in self._windows:
            window.rebase(total)

    def rate(self, at: float, total: float) -> float:
        """Jobs a second over the longest window."""
        window = self._windows[-1]
        return window.arrivals(at, total) / window.seconds

    def quantile(self, share: float) -> int:
        """So many workers were enough for `share` of the jobs."""
        left = (1.0 - share) * sum(self._weights.values())
        for level in sorted(self._weights, reverse=True):
            left -= self._weights[level]
            if left < 0:
                return level
        return 0

    def save(self) -> list[float]:
        """Levels and weights, one after the other."""
        return [each for level, weight in self._weights.items() for each in (float(level), weight / self._scale)]

    def load(self, saved: Sequence[float]) -> None:
        """Takes what `save` gave."""
        pairs = zip(saved[::2], saved[1::2], strict=False)
        self._weights = {int(level): min(weight, 1e9) for level, weight in pairs if 0 < level <= 1e9 and weight > 0}
        self._scale = 1.0

    def _shrink(self) -> None:
        self._weights = {
            level: weight / self._scale for level, weight in self._weights.items() if weight / self._scale > 1e-9
        }
        self._scale = 1.0


def _level(need: float) -> int:
    whole = math.ceil(need)
    if whole <= _FINE:
        return whole
    return math.ceil(_FINE * 1.05 ** math.ceil(math.log(whole / _FINE) / math.log(1.05)))
