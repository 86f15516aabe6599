"""For how long each level of workers is kept while it is idle, learnt from how long levels were not needed. Pure.

Whether to keep an idle worker or to stop it and pay for a boot later is ski rental. Where the lengths of the gaps are
known, the best time to keep can be chosen from them (Karlin, Manasse, McGeoch and Owicki, "Competitive randomized
algorithms for nonuniform problems", 1994): so for each level a few lengths are tried in thought on every gap, and what
each would have cost is added up, older gaps counting less. Until some gaps were seen it is the plain rule.

A worker that is not there also saves something: jobs then wait together until the deadline nears, so that the gaps
between them cost nothing. That pause counts for the short lengths, in part, as the worker would not be idle for all
of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_LENGTHS: Final = (0.5, 1.5, 2.5, 4.0, 6.0, 10.0, 16.0, 25.0, 40.0, 64.0, 100.0, 160.0, 250.0, 400.0)
"""Seconds of keeping that are tried in thought."""
_MEMORY: Final = 0.95
"""What a gap still counts when the next has come: about twenty are remembered."""
_ENOUGH: Final = 3.0
"""So many gaps are something to go by."""
_AGAIN: Final = 10.0
"""So many gaps count more than what was found out before a restart."""
_PART: Final = 0.4
"""The part of a pause in which a worker would have been idle."""
_GAP: Final = 1.01
"""Seconds: two decisions that follow each other have no gap between them."""
_FINE: Final = 16
"""Levels learn alone up to here, and then together with their neighbours."""
_GROUPS: Final = 100
"""As many groups as there may be: a hundred are for 70 million workers."""


@dataclass(frozen=True, slots=True)
class Kept:
    """`level` workers are kept, as they were needed within `seconds`; that ends at `until`."""

    level: int = 0
    seconds: float = 0.0
    until: float | None = None


NOBODY: Final = Kept()


class _Gaps:
    """What each length would have cost one level: seconds idle, and boots missed."""

    __slots__ = ("_enough", "_free", "_idle", "_missed", "_seen", "best")

    def __init__(self, best: float | None = None) -> None:
        self._idle = [0.0] * len(_LENGTHS)
        self._missed = [0.0] * len(_LENGTHS)
        self._free = [-math.inf] * len(_LENGTHS)
        self._seen = 0.0
        self._enough = _ENOUGH if best is None else _AGAIN
        self.best = best

    def learn(self, gap: float, now: float, pause: float, there: bool, price: float) -> None:
        """The level was not needed for `gap` seconds until `now`, and that many workers are `there` or not."""
        self._seen = self._seen * _MEMORY + 1.0
        if not there:
            gap += _PART * pause  # the jobs that begin to wait now would have come one by one
        for index, length in enumerate(_LENGTHS):
            idle, missed = 0.0, 0.0
            if now >= self._free[index]:
                idle, missed = min(gap, length), float(gap > length)
                if missed and there:
                    self._free[index] = now + _PART * pause
            self._idle[index] = self._idle[index] * _MEMORY + idle
            self._missed[index] = self._missed[index] * _MEMORY + missed
        if self._seen >= self._enough:
            costs = [idle + missed * price for idle, missed in zip(self._idle, self._missed, strict=True)]
            self.best = _LENGTHS[costs.index(min(costs))]


class Rent:
    """When so many workers were last needed, and for how long that is worth anything."""

    __slots__ = ("_gaps", "_levels", "_times")

    def __init__(self) -> None:
        # Highest level first, and so the oldest time first: whoever needs five also needs four.
        self._levels: list[int] = []
        self._times: list[float] = []
        self._gaps: dict[int, _Gaps] = {}

    def mark(self, level: int, now: float, there: int, pause: float, price: float) -> None:
        """`level` workers are needed now, and `there` are as many.

        Those that are missing may be started in `pause` seconds. A boot is worth `price` seconds of an idle worker.
        """
        levels, times, low = self._levels, self._times, 0
        while levels and levels[-1] <= level:
            high, at = levels.pop(), times.pop()
            self._learn(range(low + 1, high + 1), now - at, now, there, pause, price)
            low = high
        if levels:
            self._learn(range(low + 1, level + 1), now - times[-1], now, there, pause, price)
        if level > 0:
            levels.append(level)
            times.append(now)

    def _learn(self, levels: range, gap: float, now: float, there: int, pause: float, price: float) -> None:
        if gap <= _GAP:
            return
        for group in _groups(levels):
            gaps = self._gaps.get(group)
            if gaps is None:
                gaps = self._gaps[group] = _Gaps()
            gaps.learn(gap, now, pause, group <= min(there, _FINE) or there >= levels[-1], price)

    def kept(self, usual: float, stretch: float, now: float) -> Kept:
        """The most workers whose time is not over: `usual` seconds where nothing was learnt, times `stretch`."""
        for high, under, at in zip(self._levels, [*self._levels[1:], 0], self._times, strict=False):
            for group in _groups(range(high, under, -1)):
                gaps = self._gaps.get(group)
                best = usual if gaps is None or gaps.best is None else gaps.best
                if now - at < best * stretch:
                    level = min(high, _top(group))
                    return Kept(level, best * stretch, at + best * stretch)
        return NOBODY

    def save(self) -> list[float]:
        """What was found out: levels, and for how many seconds each is best kept, one after the other."""
        return [each for group, gaps in self._gaps.items() if gaps.best is not None for each in (group, gaps.best)]

    def load(self, saved: Sequence[float]) -> None:
        """Takes what `save` gave."""
        pairs = zip(saved[::2], saved[1::2], strict=False)
        self._gaps = {
            int(group): _Gaps(best)
            for group, best in pairs
            if 1 <= group <= _GROUPS and _LENGTHS[0] <= best <= _LENGTHS[-1]
        }

    def forget(self, before: float) -> None:
        """Drops levels that were not needed since `before`."""
        old = 0
        while old < len(self._times) and self._times[old] < before:
            old += 1
        if old:
            del self._levels[:old], self._times[:old]


def _group(level: int) -> int:
    return level if level <= _FINE else _FINE + 1 + int(math.log(level / _FINE) / math.log(1.2))


def _top(group: int) -> int:
    """The highest level of a group."""
    return group if group <= _FINE else math.ceil(_FINE * 1.2 ** (group - _FINE)) - 1


def _groups(levels: range) -> Iterator[int]:
    """The groups of some levels, each once, in their order."""
    last = 0
    if levels and levels[-1] <= _FINE and levels[0] <= _FINE:
        yield from levels
        return
    for level in levels:
        group = _group(level)
        if group != last:
            yield group
            last = group
