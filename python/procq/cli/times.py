"""Times as people type them: how long, and since when."""

from __future__ import annotations

import re

from procq.errors import UsageError

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>ms|[smhdw])", re.ASCII)
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?", re.ASCII)


def duration_of(text: str, option: str) -> float:
    """Seconds. Raises UsageError for what is none; `option` is what messages call it."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise UsageError(f'{option}: "{text}" is not a length of time', hint="Write it as 500ms, 30s, 5m, 2h or 1d.")
    return float(found["number"]) * _UNITS[found["unit"]]


def moment_of(text: str, option: str, now: float) -> float:
    """Seconds since the Unix epoch: so long before `now`, or a time of ISO 8601 (local where it names no zone).

    Raises UsageError for what is neither.
    """
    from datetime import date, datetime, time, timedelta

    if _DURATION.fullmatch(text):
        return now - duration_of(text, option)
    try:
        if _CLOCK.fullmatch(text):
            # The last time the clock showed that: at 00:10, 23:50 is of yesterday.
            moment = datetime.combine(
                date.fromtimestamp(now), time.fromisoformat(text if text[2] == ":" else f"0{text}")
            )
            return (moment if moment.timestamp() <= now else moment - timedelta(days=1)).timestamp()
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f'{option}: "{text}" is not a time',
            hint="Write how long ago, as 5m or 2h, or when, as 10:42, 2026-11-24T10:42:01 or 2026-11-24T09:42:01Z.",
        ) from None
