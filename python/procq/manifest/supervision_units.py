"""Readers of single values about readiness, health and limits; see `procq.manifest.units`."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from procq.errors import did_you_mean
from procq.manifest import units
from procq.manifest.units import Refused
from procq.model import Notify, ReadyCheck, Spawned, StartRate, WorkerId, filled_in

READY_WORDS: dict[str, ReadyCheck] = {"spawned": Spawned(), "notify": Notify()}
NONE = "none"
UNLIMITED = "unlimited"
_AS_URL = "expected a URL, as in http://127.0.0.1:8000/healthz"
_LEAST_MEMORY = 1 << 20
_MOST_PIDS = 4_194_304
_MOST_JOBS = 999_999_999
_MOST_CPU = 10_000
_MOST_FAILURES = 1_000
_MOST_STARTS = 100_000
_LONGEST_STARTS = 3_600.0


def ready_word(value: str) -> ReadyCheck:
    """One of the ways to be ready that need no more words."""
    found = READY_WORDS.get(value)
    if found is None:
        below = "expected spawned or notify, or keys below it: log, port, http, delay"
        raise Refused(expected=_key_below(value) or did_you_mean(value, READY_WORDS, below))
    return found


def health_word(value: str) -> None:
    """`none`."""
    if value != NONE:
        below = "expected keys below it: http, tcp or command"
        raise Refused(expected=_key_below(value) or did_you_mean(value, (NONE,), below))


def _key_below(value: str) -> str | None:
    """Where a value belongs that stands in the place of keys."""
    return f"write `http: {value}` in a line of its own below it" if "://" in value else None


def yes(value: str) -> bool:
    """`yes`: there is nothing to say no to."""
    if not units.yes_or_no(value):
        raise Refused("nothing is said by this", "write yes, or take it out")
    return True


def pattern(value: str) -> str:
    """A regular expression as those who search the output understand it."""
    # Nothing else about manifests needs the extension.
    from procq.core import check_pattern

    if not value:
        raise Refused
    try:
        found = check_pattern(value)
    except UnicodeEncodeError:
        raise Refused("this is not UTF-8 text", "look at the variables in it") from None
    if found is None:
        return value
    why, place = found
    shown = "" if place is None else f'look at "{value[place[0] : place[1]]}", character {place[0] + 1}'
    raise Refused(f"this is not a regular expression: {why}", shown or "write a simpler one", place)


def port(value: str) -> int:
    """The number of a TCP port."""
    if not re.fullmatch(r"[0-9]{1,5}", value) or not 1 <= int(value) <= 65_535:
        raise Refused
    return int(value)


def url(value: str) -> str:
    """A URL with the placeholders `{queue}` and `{slot}`."""
    units.check_placeholders(value)
    check_url(filled_in(value, WorkerId("queue", 1)))
    return value


def check_url(value: str) -> None:
    """Raises Refused for what cannot be asked by HTTP. The placeholders are filled in."""
    if not value.startswith(("http://", "https://")):
        raise Refused
    if not re.fullmatch(r"[!-~]+", value):
        raise Refused("a URL holds only ASCII, and no spaces", "write other characters with %, as in %20")
    try:
        parts = urlsplit(value)
        number = parts.port
    except ValueError as error:
        raise Refused(f"this is not a URL: {str(error).lower()}", _AS_URL) from None
    if parts.username is not None or parts.password is not None:
        raise Refused("names and passwords in a URL are not sent", "let the path answer without")
    if not parts.hostname:
        raise Refused("the URL names no host", _AS_URL)
    if number == 0 or parts.netloc.endswith(":"):
        raise Refused("the URL has a colon and no port", "expected a port from 1 to 65535 behind it")
    if "#" in value:
        raise Refused("what follows # is never sent", "take it out")


def _at_least(least: float, shown: str, most: float | None = None, most_shown: str = "") -> Callable[[str], float]:
    def read(value: str) -> float:
        found = units.duration(value)
        if found < least:
            raise Refused(expected=f"at least {shown}")
        if most is not None and found > most:
            raise Refused(expected=f"at most {most_shown}")
        return found

    return read


ready_timeout = _at_least(0.1, "100ms")
every = _at_least(0.1, "100ms", 86_400, "1d")
answer = _at_least(0.01, "10ms", 600, "10m")
_watchdog = _at_least(1, "1s")
_age = _at_least(1, "1s")


def watchdog(value: str) -> float | None:
    """A duration, or None for `none`."""
    return None if value == NONE else _watchdog(value)


def failures(value: str) -> int:
    """How many bad answers in a row."""
    return units.whole(value, 1, _MOST_FAILURES, "failures")


def memory(value: str) -> int | None:
    """Bytes, or None for `unlimited`."""
    if value == UNLIMITED:
        return None
    found = units.size(value)
    if found < _LEAST_MEMORY:
        raise Refused(expected="at least 1MiB")
    return found


def cpu(value: str) -> float | None:
    """Cores from percent of one, or None for `unlimited`."""
    if value == UNLIMITED:
        return None
    found = re.fullmatch(r"([0-9]{1,9})%", value)
    if found is None:
        raise Refused
    if not 1 <= int(found[1]) <= _MOST_CPU * 100:
        raise Refused(expected=f"1% to {_MOST_CPU * 100}%")
    return int(found[1]) / 100


def pids(value: str) -> int | None:
    """How many processes and threads, or None for `unlimited`."""
    return None if value == UNLIMITED else units.whole(value, 1, _MOST_PIDS, "processes")


def jobs(value: str) -> int | None:
    """How many jobs, or None for `unlimited`."""
    return None if value == UNLIMITED else units.whole(value, 1, _MOST_JOBS, "jobs")


def age(value: str) -> float | None:
    """Seconds, or None for `unlimited`."""
    return None if value == UNLIMITED else _age(value)


def starts(value: str) -> StartRate:
    """So many starts in so much time, as `250 in 1s`."""
    found = re.fullmatch(r"([0-9]{1,9}) +in +(\S+)", value)
    if found is None:
        raise Refused
    number, within = units.whole(found[1], 1, _MOST_STARTS, "starts"), units.duration(found[2])
    if not 0 < within <= _LONGEST_STARTS:
        raise Refused(expected="a time of more than 0, and at most 1h")
    return StartRate(number, within)
