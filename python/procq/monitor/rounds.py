"""When workers are asked, and what a row of answers means. Pure."""

from __future__ import annotations

import math
from typing import Final

from procq.model import WorkerId
from procq.plan.spread import share

FIRST_WAIT: Final = 0.05
"""Seconds after the first question of one that is not ready; each wait is longer than the one before."""
LONGEST_WAIT: Final = 1.0


def longer(wait: float) -> float:
    """The wait after `wait` for one that is not ready."""
    return min(wait * 1.5, LONGEST_WAIT)


def next_turn(worker: WorkerId, every: float, after: float) -> float:
    """The first moment behind `after` at which `worker` is asked.

    Each has a moment of its own within every period, always the same one: a thousand of them are not asked at once,
    whoever begins to ask, and when.
    """
    phase = share(str(worker)) * every
    turn = phase + (math.floor((after - phase) / every) + 1) * every
    return turn if turn > after else turn + every


class Row:
    """Bad answers in a row."""

    def __init__(self) -> None:
        self._bad = 0

    def add(self, good: bool | None, failures: int) -> int:
        """Counts an answer. Returns how many bad ones there are in a row if that is enough, else 0."""
        if good is None:
            return 0
        self._bad = 0 if good else self._bad + 1
        return self._bad if self._bad >= failures else 0

    def clear(self) -> None:
        """Begins anew."""
        self._bad = 0
