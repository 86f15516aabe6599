"""For how long workers that are idle are kept, counted by level and not by worker. Pure.

The k-th worker is kept until k workers have not been needed at the same time for some seconds, whichever of them took
the jobs: brokers hand jobs out in turn, so that with one worker too many none of them is ever idle for long. Keeping
for as long as another boot would cost is ski rental (Karlin et al., "Competitive snoopy caching", 1988): never worse
than twice what would have been best.
"""

from __future__ import annotations


class Levels:
    """When so many workers, or more, were last needed at the same time."""

    __slots__ = ("_levels", "_times")

    def __init__(self) -> None:
        # Highest level first, and so the oldest time first: whoever needs five also needs four.
        self._levels: list[int] = []
        self._times: list[float] = []

    def mark(self, level: int, now: float) -> None:
        """`level` workers are needed now."""
        levels, times = self._levels, self._times
        while levels and levels[-1] <= level:
            levels.pop()
            times.pop()
        if level > 0:
            levels.append(level)
            times.append(now)

    def kept(self, seconds: float, now: float) -> int:
        """The most workers that were needed within so many seconds before `now`."""
        for level, at in zip(self._levels, self._times, strict=True):
            if now - at < seconds:
                return level
        return 0

    def until(self, seconds: float, now: float) -> float | None:
        """When `kept` falls next, if nothing happens; None: there is nothing to fall."""
        for at in self._times:
            if now - at < seconds:
                return at + seconds
        return None

    def forget(self, before: float) -> None:
        """Drops what nobody will ask for: levels not needed since `before`."""
        old = 0
        while old < len(self._times) and self._times[old] < before:
            old += 1
        if old:
            del self._levels[:old], self._times[:old]
