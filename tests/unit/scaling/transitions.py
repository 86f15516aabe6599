"""Changes of the clock in time zones, and what cron has to do around them, found by looking at each minute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE, DAY = 60, 86_400
FIRST, LAST = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2000, 2038))

Matches = Callable[[datetime], bool]


def offset(zone: ZoneInfo, at: int) -> int:
    found = datetime.fromtimestamp(at, zone).utcoffset()
    assert found is not None
    return int(found.total_seconds())


def transitions(zone: ZoneInfo, step: int = 7 * DAY) -> Iterator[int]:
    """Moments at which the offset changes, from 2000 to 2037; not those that are undone within `step`."""
    for start in range(FIRST, LAST, step):
        early, late = start, start + step
        if offset(zone, early) == offset(zone, late):
            continue
        while late - early > 1:
            middle = (early + late) // 2
            if offset(zone, middle) == offset(zone, early):
                early = middle
            else:
                late = middle
        yield late


def by_the_wall(zone: ZoneInfo, matches: Matches, since: int, until: int) -> list[int]:
    """Each minute in which the clock on the wall shows a time that matches."""
    return [at for at in range(since, until, MINUTE) if matches(datetime.fromtimestamp(at, zone))]


def once(zone: ZoneInfo, matches: Matches, since: int, until: int) -> list[int]:
    """Each time on the wall exactly once: the first time it comes, or when the clock has been put past it."""
    started: list[int] = []
    shown = datetime.fromtimestamp(since, zone).replace(tzinfo=None) - timedelta(seconds=MINUTE)
    for at in range(since, until, MINUTE):
        wall = datetime.fromtimestamp(at, zone).replace(tzinfo=None)
        if wall > shown:
            passed = int((wall - shown).total_seconds()) // MINUTE
            if any(matches(wall - timedelta(seconds=n * MINUTE)) for n in range(passed)):
                started.append(at)
            shown = wall
    return started
