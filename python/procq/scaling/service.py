"""How long jobs take, and how long boots take: means that follow. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

_SLOWEST: Final = 0.02
"""The least weight of a new job: the mean forgets over about fifty."""
_FEW: Final = 20
"""Until so many jobs have ended, those still going count as well: the short ones end first."""
_PRIOR: Final = 5
"""As many jobs as what the manifest says of them is worth."""
_BOOT_SLOWEST: Final = 0.05
_BOOT_FIRST: Final = 1.0
"""Seconds that a boot is taken to last before one was seen."""
_BOOT_MARGIN: Final = 1.3
"""Until `_BOOT_FEW` boots were seen they are taken to last so much longer."""
_BOOT_FEW: Final = 5
_LEAST: Final = 1e-6
_MOST: Final = 1e9


class ServiceTime:
    """The mean time that a job takes, in seconds; infinite while nothing is known."""

    __slots__ = ("_finished", "_seconds", "mean", "seen")

    def __init__(self, prior: float | None = None) -> None:
        self.mean = math.inf if prior is None else _within(prior)
        self.seen = 0 if prior is None else _PRIOR
        self._finished: int | None = None
        self._seconds = 0.0

    def learn(self, finished: int, seconds: float) -> None:
        """Takes the sums of all jobs that have ended; sums that fall have begun again."""
        if self._finished is None or finished < self._finished or seconds < self._seconds:
            self._finished, self._seconds = finished, seconds
            return
        jobs, took = finished - self._finished, seconds - self._seconds
        if jobs <= 0:
            return
        self._finished, self._seconds = finished, seconds
        self.seen += jobs
        weight = max(1.0 - (1.0 - _SLOWEST) ** min(jobs, 10_000), min(1.0, jobs / self.seen))
        mean = _within(took / jobs)
        self.mean = mean if math.isinf(self.mean) else self.mean + weight * (mean - self.mean)

    def cautious(self, elapsed: float) -> float:
        """The mean; while few jobs have ended, at least what they and the `elapsed` seconds of others make."""
        if self.seen >= _FEW or self.seen == 0:
            return self.mean
        return max(self.mean, (self.mean * self.seen + min(max(0.0, elapsed), _MOST)) / self.seen)

    def save(self) -> list[float]:
        """What is worth keeping over a restart."""
        return [self.mean, self.seen] if math.isfinite(self.mean) else []

    def load(self, saved: Sequence[float]) -> None:
        """Takes what `save` gave."""
        if len(saved) == 2:
            self.mean, self.seen = _within(saved[0]), max(1, int(saved[1]))


class BootTime:
    """How long it takes from asking for a worker until it is ready, in seconds."""

    __slots__ = ("_mean", "seen")

    def __init__(self) -> None:
        self._mean = _BOOT_FIRST
        self.seen = 0

    def learn(self, seconds: float) -> None:
        """Takes one boot that was completed."""
        self.seen += 1
        weight = max(_BOOT_SLOWEST, 1 / self.seen)
        self._mean += weight * (_within(seconds) - self._mean)

    @property
    def mean(self) -> float:
        """What to reckon with: longer than the mean while few were seen."""
        return self._mean if self.seen >= _BOOT_FEW else self._mean * _BOOT_MARGIN

    def save(self) -> list[float]:
        """What is worth keeping over a restart."""
        return [self._mean, self.seen] if self.seen else []

    def load(self, saved: Sequence[float]) -> None:
        """Takes what `save` gave."""
        if len(saved) == 2:
            self._mean, self.seen = _within(saved[0]), max(1, int(saved[1]))


def _within(seconds: float) -> float:
    return min(max(seconds, _LEAST), _MOST)


def numbers(saved: Mapping[str, Any], name: str) -> list[float]:
    """A list of numbers out of saved data; empty where there is something else."""
    found = saved.get(name)
    if not isinstance(found, list) or not all(isinstance(each, int | float) for each in found):
        return []
    return [float(each) for each in found if math.isfinite(each)]
