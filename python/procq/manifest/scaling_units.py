"""Readers of single values about sources, scaling, schedules and shares; see `procq.manifest.units`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote

from procq.manifest import units
from procq.manifest.units import Refused
from procq.model import MAX_WORKERS
from procq.rules import Guard, Style

HOLD: Final = "hold"
ON: Final = "on"
OFF: Final = "off"
_LONGEST_OBJECTIVE = 86_400.0
_MOST_PRIORITY = 1_000
_LOCALTIME = "/etc/localtime"
_OF_FILES = ("file", "huey+sqlite", "sql+sqlite", "laravel+sqlite")
"""Schemes of sources that are a path of this machine."""


def absolute(url: str, directory: str) -> str:
    """A source with a path of its own, as `file:inbox`: it is relative to the manifest. Others stay as they are."""
    scheme, _, rest = url.partition(":")
    if scheme not in _OF_FILES or not rest or rest.startswith("/"):
        return url
    return f"{scheme}://{quote(directory.rstrip('/'))}/{rest.removeprefix('./')}"


def source_url(value: str) -> str:
    """A URL that names a preset and a server."""
    from procq.scaling.place import BadPlace, parse

    try:
        parse(absolute(value, ""), "queue")
    except BadPlace as bad:
        raise Refused(str(bad), place=bad.place) from None
    return value


def _duration(least: float, shown: str, most: float, most_shown: str) -> Callable[[str], float]:
    def read(value: str) -> float:
        found = units.duration(value)
        if found < least:
            raise Refused(expected=f"at least {shown}")
        if found > most:
            raise Refused(expected=f"at most {most_shown}")
        return found

    return read


every = _duration(1, "1s", 3600, "1h")
wait = _duration(0.1, "100ms", _LONGEST_OBJECTIVE, "1d")
job_time = _duration(0.001, "1ms", _LONGEST_OBJECTIVE, "1d")
lasts = _duration(60, "1m", 366 * 86_400, "366d")


def amount(value: str) -> float:
    """A number of more than 0."""
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", value):
        raise Refused
    if not float(value):
        raise Refused(expected="more than 0")
    return float(value)


def utilization(value: str) -> float:
    """A share of the time, from percent."""
    found = re.fullmatch(r"([0-9]{1,3})%", value)
    if found is None:
        raise Refused
    if not 1 <= int(found[1]) <= 99:
        raise Refused(expected="1% to 99%")
    return int(found[1]) / 100


def percent(value: str) -> float:
    """A share, from percent."""
    found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,2})?)%", value)
    if found is None:
        raise Refused
    if not 0 < float(found[1]) <= 100:
        raise Refused(expected="more than 0%, and at most 100%")
    return float(found[1]) / 100


def style(value: str) -> Style:
    """How readily idle workers are kept."""
    return units.chosen(Style, value)


def fallback(value: str) -> int | None:
    """A number of workers, or None for `hold`."""
    return None if value == HOLD else units.whole(value, 0, MAX_WORKERS, "workers")


def cron(value: str) -> str:
    """Times, as cron writes them."""
    from procq.scaling.schedule import check

    try:
        check(value, "UTC")
    except ValueError as error:
        raise Refused(str(error)) from None
    return value


def timezone(value: str) -> str:
    """A time zone of the IANA database."""
    from zoneinfo import ZoneInfo, available_timezones

    from procq.errors import did_you_mean

    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):
        known = available_timezones()
        raise Refused(expected=did_you_mean(value, known, "expected a name as Europe/Berlin, or UTC")) from None
    return value


def local_timezone(environ: Mapping[str, str]) -> str:
    """The name of the machine's own time zone; UTC where it cannot be found out."""
    linked = os.path.realpath(_LOCALTIME).partition("/zoneinfo/")[2]
    for name in (environ.get("TZ", "").removeprefix(":"), linked):
        try:
            return timezone(name)
        except Refused:
            continue
    return "UTC"


def bound(value: str) -> int:
    """A number of workers."""
    return units.whole(value, 0, MAX_WORKERS, "workers")


def priority(value: str) -> int:
    """Higher is served first."""
    if not re.fullmatch(r"-?[0-9]{1,4}", value) or abs(int(value)) > _MOST_PRIORITY:
        raise Refused
    return int(value)


def budget_cpus(value: str) -> float:
    """Cores."""
    found = amount(value)
    if found > 100_000:
        raise Refused(expected="the cores of one machine")
    return found


def guard_word(value: str) -> Guard | None:
    """`on` with what is usual, or `off`."""
    if value not in (ON, OFF):
        raise Refused
    return Guard() if value == ON else None
