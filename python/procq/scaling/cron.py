"""When cron would start something: the moment before a time, and the moment after it. Pure.

Fields are read and stepped through by cronsim, in wall clock time; how wall clock times become moments is here, because
cronsim by itself goes astray inside the hour that comes twice, and where clocks move by half an hour.

The rule for changes of the clock is that of Debian's cron (cron(8)): what begins at fixed times begins exactly once,
also where that time is skipped (then at the moment of the change) or comes twice (then the first time). What has a star
in its minutes or its hours follows the clock on the wall: not in the hour that is skipped, twice in the one that comes
twice. Only that it knows no limit of three hours: a calendar that leaves out a day is a change like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

_NAMED: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS: Final = ("minute", "hour", "day of the month", "month", "day of the week")
_BAD: Final = {
    "minute": "minutes are 0 to 59",
    "hour": "hours are 0 to 23",
    "day-of-month": "days of the month are 1 to 31, or L for the last, and have to come in one of the months",
    "month": "months are 1 to 12, or JAN to DEC",
    "day-of-week": "days of the week are 0 to 7, or SUN to SAT; Sunday is 0 and 7",
}
_SECOND: Final = timedelta(seconds=1)
_NO_TIME: Final = timedelta()
_SOME_DAY: Final = datetime(2024, 1, 1)
_LONGEST: Final = 500
"""Characters of an expression."""


class Cron:
    """One expression in one time zone. Raises ValueError with a sentence for a person where either is none."""

    def __init__(self, expression: str, timezone: str) -> None:
        self._zone = _zone(timezone)
        self._fields = _fields(expression)
        minute, hour, *_ = self._fields.split()
        self._follows_the_wall = minute.startswith("*") or hour.startswith("*")

    def before(self, at: float) -> float | None:
        """The last start at `at` or before it, in seconds since the epoch; None where there was none for 50 years."""
        wall, twice = self._wall(at)
        found: float | None = None
        for start in _walls(self._fields, wall + twice + _SECOND, reverse=True):
            moments = [moment for moment in self._moments(start) if moment <= at]
            found = max(moments if found is None else [found, *moments], default=None)
            if found is not None and start <= wall - twice:
                break
        return found

    def after(self, at: float) -> float | None:
        """The first start after `at`; None where there is none for 50 years."""
        wall, twice = self._wall(at)
        found: float | None = None
        for start in _walls(self._fields, wall - twice - _SECOND, reverse=False):
            moments = [moment for moment in self._moments(start) if moment > at]
            found = min(moments if found is None else [found, *moments], default=None)
            if found is not None and start >= wall + twice:
                break
        return found

    def _wall(self, at: float) -> tuple[datetime, timedelta]:
        """What the clock on the wall shows, in whole seconds, and how much of what is around it comes twice."""
        here = datetime.fromtimestamp(int(at // 1), self._zone)
        return here.replace(tzinfo=None, fold=0), max(_NO_TIME, _change(here))

    def _moments(self, wall: datetime) -> tuple[float, ...]:
        """When something begins that is to begin at this time on the wall."""
        here = wall.replace(tzinfo=self._zone)
        change = _change(here)
        if not change:
            return (here.timestamp(),)
        if change < _NO_TIME:
            return () if self._follows_the_wall else (_moment_of_change(here),)
        first = here.timestamp()
        return (first, first + change.total_seconds()) if self._follows_the_wall else (first,)


def _change(here: datetime) -> timedelta:
    """By how much clocks are put back around a time that comes twice; below 0 for one that does not come at all."""
    former, latter = here.replace(fold=0).utcoffset(), here.replace(fold=1).utcoffset()
    assert former is not None and latter is not None  # it has a time zone
    return former - latter


def _moment_of_change(here: datetime) -> float:
    """When clocks are put forward over a time that does not come."""
    # PEP 495: with the offset from before the change it is a time after it, and the other way round.
    early, late = int(here.replace(fold=1).timestamp()), int(here.replace(fold=0).timestamp())
    new = here.replace(fold=1).utcoffset()
    while late - early > 1:
        middle = (early + late) // 2
        if datetime.fromtimestamp(middle, here.tzinfo).utcoffset() == new:
            late = middle
        else:
            early = middle
    return float(late)


def _walls(fields: str, start: datetime, *, reverse: bool) -> Iterator[datetime]:
    """Times on the wall that match, going from `start`, which is not among them. Without a zone nothing changes."""
    return iter(CronSim(fields, start, reverse))


def _fields(expression: str) -> str:
    """The five fields of an expression, which may be one of the names that stand for some."""
    text = expression.strip()
    if text.startswith("@"):
        if text.lower() not in _NAMED:
            raise ValueError(f"{text!r} is no time of cron: there are {', '.join(_NAMED)}")
        return _NAMED[text.lower()]
    number = len(text.split())
    if number != len(_FIELDS) or len(text) > _LONGEST:
        raise ValueError(
            f"a time of cron has five fields ({', '.join(_FIELDS)}), as 0 8 * * 1-5; {text[:50]!r} has {number}"
        )
    try:
        next(CronSim(text, _SOME_DAY))
    except CronSimError as error:
        field = str(error).removeprefix("Bad ")
        raise ValueError(f"{text!r} is no time of cron: {_BAD.get(field, field)}") from None
    except StopIteration:
        raise ValueError(f"{text!r} never comes: no day fits all its fields") from None
    except (AssertionError, ValueError):
        raise ValueError(f"{text!r} is no time of cron: a field cannot be read") from None
    return text


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        pass
    known = available_timezones()
    if not known:
        raise ValueError(f"no time zone {name!r}: this machine has no time zone database (the package tzdata)")
    near = get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else "expected a name as Europe/Berlin, or UTC"
    raise ValueError(f"no time zone {name!r}: {hint}")
