"""Readers of single values: text in, value out, or `Refused` with what to write instead. Small and strict."""

from __future__ import annotations

import os
import re
import resource
import signal as signals
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from procq.errors import did_you_mean
from procq.model import (
    MAX_WORKERS,
    MOST_FAILURES,
    Backoff,
    GiveUp,
    Limit,
    LogFormat,
    RestartWhen,
    Share,
    StopTo,
    WhenFull,
)
from procq.names import is_name

_NUMBERS = frozenset(int(number) for number in signals.valid_signals())
_SIGNALS = {known.name.removeprefix("SIG"): int(known) for known in signals.Signals}
_LONGEST_MS = 365 * 86_400_000
_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_PATH = 4095
"""Bytes: the kernel takes no more."""
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}?")
PLACEHOLDERS = ("queue", "slot")
"""What may stand in braces in `logs.file`."""


C = TypeVar("C", bound=StrEnum)

_SIZES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}
_SIZE = re.compile(rf"([0-9]{{1,19}}(?:\.[0-9]{{1,6}})?)({'|'.join(_SIZES)})")
_LEAST_ROTATE = 4 << 10
_LEAST_AGE = 60
_LEAST_TOTAL = 4 * _LEAST_ROTATE
_MOST_KEPT = 1_000
_LARGEST_ID = 2**32 - 2
_LARGEST_LIMIT = 2**63 - 1
_NOT_LIMITS = ("locks", "ofile")
"""A mark of procq, and another name of `nofile`."""
LIMITS = tuple(
    sorted(
        known
        for known in (name.removeprefix("RLIMIT_").lower() for name in dir(resource) if name.startswith("RLIMIT_"))
        if known not in _NOT_LIMITS
    )
)
"""Names of the resource limits that this system has."""
BYTE_LIMITS = frozenset(("as", "core", "data", "fsize", "memlock", "msgqueue", "rss", "stack"))
"""Those that count bytes."""


class Refused(Exception):
    """A value cannot be read. `expected` says what to write; None where the key's own words say it.

    `place` is where in the value that is, first character and one past the last; None for the whole.
    """

    def __init__(
        self, message: str | None = None, expected: str | None = None, place: tuple[int, int] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.place = place


def text(value: str) -> str:
    """Any text."""
    return value


def version(value: str) -> int:
    """The version of the manifest's own format."""
    if not value:
        raise Refused
    if value != "1":
        raise Refused(f'version "{value}" of the manifest is not known to this procq', "write 1")
    return 1


def name(value: str) -> str:
    """The name of a queue or project."""
    if not is_name(value):
        raise Refused
    return value


def variable(value: str) -> str:
    """The name of an environment variable which is free to be set."""
    if not _VARIABLE.fullmatch(value):
        raise Refused
    if value.startswith("PROCQ_"):
        raise Refused(f'"{value}" is set by procq itself', "choose a name that does not begin with PROCQ_")
    return value


def ends(value: str) -> tuple[str, str | None]:
    """The ends of a range, as in `1..2`; None as the second where there is only one value."""
    found = re.fullmatch(r"(.*?) *\.\. *(.*)", value)
    return (value, None) if found is None else (found[1], found[2])


def whole(value: str, least: int, most: int, what: str) -> int:
    """A whole number in digits. Raises Refused with `what` there would be too many of."""
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise Refused
    number = int(value)
    if number > most:
        raise Refused(f"{value} {what} are too many", f"at most {most}")
    if number < least:
        raise Refused(expected=f"at least {least}")
    return number


def _workers(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise Refused
    if int(value) > MAX_WORKERS:
        raise Refused(f"{value} workers are too many", f"at most {MAX_WORKERS} in one queue")
    return int(value)


def workers(value: str) -> tuple[int, int | None]:
    """How many workers, 0 to MAX_WORKERS; for a range, as `2..8`, its ends, else None as the second."""
    first, last = ends(value)
    if last is None:
        return _workers(value), None
    least, most = _workers(first), _workers(last)
    if most < least:
        raise Refused("the range of workers ends before it begins", f"write {most}..{least}")
    return least, None if least == most else most


def budget_workers(value: str) -> int:
    """How many workers a machine bears."""
    return whole(value, 1, 1_000_000, "workers")


def yes_or_no(value: str) -> bool:
    """`yes` or `no`, also `true` or `false`."""
    if value not in ("yes", "true", "no", "false"):
        raise Refused
    return value in ("yes", "true")


def duration(value: str) -> float:
    """Seconds, exact to the millisecond."""
    found = _DURATION.fullmatch(value)
    if found is None:
        raise Refused
    milliseconds = Decimal(found[1]) * _MS[found[2]]
    if milliseconds != int(milliseconds):
        raise Refused(expected="nothing finer than 1ms")
    if milliseconds > _LONGEST_MS:
        raise Refused(expected="at most 365d")
    return int(milliseconds) / 1_000


def signal(value: str) -> int:
    """The number of a signal given by name, with or without SIG, or by number."""
    plain = value.removeprefix("SIG")
    if plain in _SIGNALS:
        return _SIGNALS[plain]
    if re.fullmatch(r"[0-9]{1,3}", value) and int(value) in _NUMBERS:
        return int(value)
    raise Refused(expected=did_you_mean(plain, _SIGNALS, "expected a name such as TERM, INT, QUIT or HUP"))


def chosen(kind: type[C], value: str) -> C:
    """One of the words of an enumeration."""
    try:
        return kind(value)
    except ValueError:
        choices = [str(choice) for choice in kind]
        raise Refused(expected=did_you_mean(value, choices, f"expected one of {', '.join(choices)}")) from None


def restart_when(value: str) -> RestartWhen:
    """After which ends a worker is replaced."""
    return chosen(RestartWhen, value)


def stop_to(value: str) -> StopTo:
    """Who hears the stop signal."""
    return chosen(StopTo, value)


def log_format(value: str) -> LogFormat:
    """How lines stand in a file."""
    return chosen(LogFormat, value)


def when_full(value: str) -> WhenFull:
    """What becomes of output that the disk does not take."""
    return chosen(WhenFull, value)


def backoff(value: str) -> Backoff:
    """The first and the longest wait, as in `100ms..30s`."""
    first, last = ends(value)
    if last is None:
        raise Refused
    found = Backoff(duration(first), duration(last))
    if not 0 < found.initial <= found.maximum:
        raise Refused(expected="the first must be more than 0 and not longer than the last")
    return found


def directory(value: str) -> str:
    """A path, not yet joined to the manifest's."""
    if not value:
        raise Refused
    if value.startswith("~"):
        raise Refused("~ is not expanded here", "write ${HOME}")
    if len(os.fsencode(value)) > _LONGEST_PATH:
        raise Refused("the path is longer than the system allows", f"at most {_LONGEST_PATH} bytes")
    return value


def env_file(value: str) -> str:
    """The path of a file of variables."""
    directory(value)
    if value.endswith("/"):
        raise Refused("this is a directory", "name a file, as in .env")
    return value


def include(value: str) -> str:
    """The path of a manifest to include, or a pattern of paths."""
    directory(value)
    if "**" in value:
        raise Refused("** is not known here", "write a * for each directory on the way, as in teams/*/*.yaml")
    if not value.endswith((".yaml", ".yml")):
        raise Refused("included files end in .yaml or .yml", "expected a path or a pattern, as in queues/*.yaml")
    return value


def check_placeholders(value: str) -> None:
    """Raises Refused for anything in braces but `{queue}` and `{slot}`."""
    for found in _PLACEHOLDER.finditer(value):
        if found[1] not in PLACEHOLDERS or not found[0].endswith("}"):
            guess = did_you_mean(found[1], PLACEHOLDERS, "expected {queue} or {slot}")
            raise Refused(f"{found[0]} is not something that procq can fill in", guess)


def log_file(value: str) -> str:
    """A path with the placeholders `{queue}` and `{slot}`."""
    directory(value)
    check_placeholders(value)
    if value.endswith("/"):
        raise Refused("this is a directory", "name a file, as in logs/{queue}.{slot}.log")
    return value


def size(value: str) -> int:
    """Bytes. Powers of ten for MB, of two for MiB."""
    found = _SIZE.fullmatch(value)
    if found is None:
        raise Refused
    count = Decimal(found[1]) * _SIZES[found[2]]
    if count != int(count):
        raise Refused(expected="nothing finer than a byte")
    if count > _LARGEST_LIMIT:
        raise Refused(expected="a size that a file can have")
    return int(count)


def rotate(value: str) -> int:
    """Bytes at which a log file is closed."""
    count = size(value)
    if count < _LEAST_ROTATE:
        raise Refused(expected="at least 4KiB")
    return count


def rotate_every(value: str) -> float:
    """Seconds after which a log file is closed."""
    seconds = duration(value)
    if seconds < _LEAST_AGE:
        raise Refused(expected="at least 1m")
    return seconds


def total(value: str) -> int:
    """Bytes of a log file and its closed ones."""
    count = size(value)
    if count < _LEAST_TOTAL:
        raise Refused(expected="at least 16KiB")
    return count


def keep(value: str) -> int:
    """How many closed log files stay."""
    return whole(value, 0, _MOST_KEPT, "files")


def give_up(value: str) -> GiveUp:
    """So many failures in so much time, as `10 in 5m`."""
    found = re.fullmatch(r"([0-9]{1,9}) +in +(\S+)", value)
    if found is None:
        raise Refused
    failures, within = whole(found[1], 1, MOST_FAILURES, "failures"), duration(found[2])
    if not within:
        raise Refused(expected="a time of more than 0")
    return GiveUp(failures, within)


def _share(value: str) -> Share:
    number = value.removesuffix("%")
    if number == value:
        return Share(whole(number, 0, MAX_WORKERS, "workers"))
    if re.fullmatch(r"[0-9]{1,9}", number) and int(number) > 100:
        raise Refused(expected="at most 100%")
    return Share(whole(number, 0, 100, "percent"), percent=True)


def surge(value: str) -> Share:
    """Workers beyond those wanted."""
    return _share(value)


def batch(value: str) -> Share:
    """Workers replaced at a time."""
    found = _share(value)
    if not found.number:
        raise Refused("with a batch of 0 nothing would ever be replaced", "at least 1, or 1%")
    return found


def umask(value: str) -> int:
    """Permission bits from octal digits."""
    if not re.fullmatch(r"0?[0-7]{3}", value):
        raise Refused
    return int(value, 8)


def nice(value: str) -> int:
    """From -20 to 19."""
    if not re.fullmatch(r"-?[0-9]{1,2}", value) or not -20 <= int(value) <= 19:
        raise Refused
    return int(value)


def account(value: str) -> str:
    """The name or number of a user or group, not looked up yet."""
    if not value or value.split() != [value] or ":" in value:
        raise Refused
    if re.fullmatch(r"[0-9]+", value) and int(value[:11]) > _LARGEST_ID:
        raise Refused(expected=f"at most {_LARGEST_ID}")
    if re.fullmatch(r"-[0-9]+", value):
        raise Refused(expected="0 or more")
    return value


def limit_name(value: str) -> str:
    """The name of a resource limit."""
    if value == "locks":
        raise Refused('"locks" is used by procq itself to find all processes of a worker', "take it out")
    if value not in LIMITS:
        plain = value.lower().removeprefix("rlimit_")
        raise Refused(expected=did_you_mean(plain, LIMITS, f"expected one of {', '.join(LIMITS)}"))
    return value


def limit(value: str) -> Limit:
    """The soft and the hard limit; one value stands for both."""
    first, last = ends(value)
    soft = _bound(first)
    hard = soft if last is None else _bound(last)
    if hard is not None and (soft is None or soft > hard):
        raise Refused(expected="the first is the soft one and must not exceed the second")
    return Limit(soft, hard)


def _bound(value: str) -> int | None:
    if value == "unlimited":
        return None
    if not re.fullmatch(r"[0-9]{1,20}", value):
        return size(value)
    if int(value) > _LARGEST_LIMIT:
        raise Refused(expected="write unlimited")
    return int(value)
