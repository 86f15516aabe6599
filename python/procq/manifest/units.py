"""Readers of single values: text in, value out, or `Refused` with what to write instead. Small and strict."""

from __future__ import annotations

import os
import re
import signal as signals
from decimal import Decimal

from procq.errors import did_you_mean
from procq.model import MAX_WORKERS, Backoff, RestartWhen
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


class Refused(Exception):
    """A value cannot be read. `expected` says what to write; None where the key's own words say it."""

    def __init__(self, message: str | None = None, expected: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected


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


def workers(value: str) -> int:
    """How many workers, 0 to MAX_WORKERS."""
    if re.fullmatch(r"[0-9]*\.\.[0-9]*", value):
        raise Refused("this version of procq does not support ranges of workers yet", "write one whole number")
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise Refused
    if int(value) > MAX_WORKERS:
        raise Refused(f"{value} workers are too many", f"at most {MAX_WORKERS} in one queue")
    return int(value)


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


def restart_when(value: str) -> RestartWhen:
    """After which ends a worker is replaced."""
    try:
        return RestartWhen(value)
    except ValueError:
        choices = [str(choice) for choice in RestartWhen]
        raise Refused(expected=did_you_mean(value, choices, f"expected one of {', '.join(choices)}")) from None


def backoff(value: str) -> Backoff:
    """The first and the longest wait, as in `100ms..30s`."""
    first, dots, last = value.partition("..")
    if not dots:
        raise Refused
    found = Backoff(duration(first.strip()), duration(last.strip()))
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


def log_file(value: str) -> str:
    """A path with the placeholders `{queue}` and `{slot}`."""
    directory(value)
    for found in _PLACEHOLDER.finditer(value):
        if found[1] not in PLACEHOLDERS or not found[0].endswith("}"):
            guess = did_you_mean(found[1], PLACEHOLDERS, "expected {queue} or {slot}")
            raise Refused(f"{found[0]} is not something that procq can fill in", guess)
    if value.endswith("/"):
        raise Refused("this is a directory", "name a file, as in logs/{queue}.{slot}.log")
    return value
