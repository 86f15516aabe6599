"""From the periods of a queue to the floor and the ceiling in force now, and when they next change. Pure.

A period is in force from each start that its cron expression names (see `procq.scaling.cron`) for so many seconds, also
where it began before procq did, and where the next start comes before its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from procq.rules import Period
from procq.scaling.cron import Cron
from procq.text import duration

_REMEMBERED: Final = 10_000
"""Expressions, and sets of periods, that are remembered; after that it begins anew."""
_CHAIN: Final = 50
"""Starts that are followed at once to find the end of a period that goes on and on."""
_EDGES: Final = 10
"""Beginnings and ends that are looked at to find one that changes a bound."""
_NEVER: Final = inf


@dataclass(frozen=True, slots=True)
class Bounds:
    """At least `least` and at most `most` workers; None: no matter. `because` is which periods say so, "" for none.

    `until` is when one of the two next changes, in seconds since the epoch; None: not as far as was looked.
    """

    least: int | None
    most: int | None
    because: str
    until: float | None


@dataclass(frozen=True, slots=True)
class _Stretch:
    """From `since` until before `until` a period is in force, or is not. It may be so after that too."""

    since: float
    until: float
    active: bool


@dataclass(slots=True)
class _Known:
    cron: Cron
    stretches: list[_Stretch] = field(default_factory=list)


_Force = tuple[int | None, int | None, str]
"""Floor, ceiling, and why."""


def check(cron: str, timezone: str) -> None:
    """Raises ValueError, with a sentence for a person, where one of the two is none."""
    Cron(cron, timezone)


def bounds(periods: Sequence[Period], at: float) -> Bounds:
    """The bounds at `at`, in seconds since the epoch; see `Calendar`."""
    return Calendar().bounds(periods, at)


class Calendar:
    """Remembers what is in force until it changes, so that it costs next to nothing to ask each second.

    Of several periods in force the highest floor and the lowest ceiling count; where the floor is above the ceiling,
    the ceiling does. The clock may go back. Time zones are those that were known when they were first asked for.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, float], _Known] = {}
        self._answers: dict[tuple[Period, ...], tuple[float, float, Bounds]] = {}

    def bounds(self, periods: Sequence[Period], at: float) -> Bounds:
        """The bounds at `at`, in seconds since the epoch. Raises ValueError for what `check` does not let pass."""
        if not periods:
            return _NONE
        key = tuple(periods)
        answer = self._answers.get(key)
        if answer is None or not answer[0] <= at < answer[1]:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            answer = self._answers[key] = self._answer(key, at)
        return answer[2]

    def _answer(self, periods: tuple[Period, ...], at: float) -> tuple[float, float, Bounds]:
        """What holds at `at`, between which times, and with when it changes."""
        stretches = [self._stretch(period, at) for period in periods]
        since, until = max(stretch.since for stretch in stretches), min(stretch.until for stretch in stretches)
        force, edge, change = _force(periods, stretches), until, None
        for _ in range(_EDGES):
            if edge == _NEVER:
                break
            stretches = [self._stretch(period, edge) for period in periods]
            if _force(periods, stretches)[:2] != force[:2]:
                change = edge
                break
            edge = min(stretch.until for stretch in stretches)
        return since, until, Bounds(*force, change)

    def _stretch(self, period: Period, at: float) -> _Stretch:
        key = (period.cron, period.timezone, period.seconds)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[key] = _Known(Cron(period.cron, period.timezone))
        for stretch in known.stretches:
            if stretch.since <= at < stretch.until:
                return stretch
        stretch = _look(known.cron, period.seconds, at)
        known.stretches = [*known.stretches[-_EDGES:], stretch]
        return stretch


def _look(cron: Cron, seconds: float, at: float) -> _Stretch:
    start = cron.before(at)
    since = -_NEVER if start is None else start + seconds
    if start is None or since <= at:
        following = cron.after(at)
        return _Stretch(since, _NEVER if following is None else following, False)
    end = since
    for _ in range(_CHAIN):
        following = cron.before(end)
        if following is None or following + seconds <= end:
            break
        end = following + seconds
    return _Stretch(start, end, True)


def _force(periods: Sequence[Period], stretches: Sequence[_Stretch]) -> _Force:
    active = [period for period, stretch in zip(periods, stretches, strict=True) if stretch.active]
    floor, least = _first(((period.least, period) for period in active), max)
    ceiling, most = _first(((period.most, period) for period in active), min)
    says = [] if floor is None else [f"at least {least} {_named(floor)}"]
    if ceiling is not None:
        says.append(f"at most {most} {_named(ceiling)}")
    if least is not None and most is not None and least > most:
        least = most
        says.append("the ceiling counts")
    return least, most, "; ".join(says)


def _first(
    limits: Iterable[tuple[int | None, Period]], chosen: Callable[[Iterable[int]], int]
) -> tuple[Period | None, int | None]:
    """The limit that is chosen, and the first period that has it."""
    given = [(limit, period) for limit, period in limits if limit is not None]
    if not given:
        return None, None
    limit = chosen(limit for limit, _ in given)
    return next(period for each, period in given if each == limit), limit


def _named(period: Period) -> str:
    return f"from {period.cron} ({period.timezone}) for {duration(period.seconds)}"


_NONE: Final = Bounds(None, None, "", None)
