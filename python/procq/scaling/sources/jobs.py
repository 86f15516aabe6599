"""What sources find in other people's data: numbers and JSON that may be anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from procq.scaling.reading import Reading
from procq.scaling.sources.port import Kind, SourceError

_FIELDS = ("waiting", "running", "delayed", "oldest")
_MOST = 60


def object_in(text: bytes | str | None) -> Mapping[str, Any]:
    """The JSON object that `text` is; an empty one where it is anything else."""
    try:
        found = json.loads(text) if text is not None else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def number_in(value: object) -> float | None:
    """The number that `value` is or spells; None where it is none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    try:
        return float(value)  # type: ignore[arg-type]  # that is what is to be found out
    except (TypeError, ValueError):
        return None


def age(now: float, since: float | None) -> float | None:
    """Seconds since then; clocks that differ a little make no negative ones."""
    return None if since is None else max(0.0, now - since)


def reading_in(found: object, where: str) -> Reading:
    """The reading that a number, or an object with `waiting`, spells. Raises SourceError where it is neither."""
    fields = found if isinstance(found, Mapping) else {"waiting": found}
    numbers = {name: number_in(fields.get(name)) for name in _FIELDS}
    waiting = numbers["waiting"]
    wrong = [name for name in _FIELDS if fields.get(name) is not None and numbers[name] is None]
    if waiting is None or wrong:
        named = fields is found and wrong
        what = f'"{wrong[0]}" is {shortened(fields[wrong[0]])}' if named else f"{shortened(found)} was found"
        message = f"{where}: {what}, where a number belongs, or an object with one that is called waiting"
        raise SourceError(Kind.GARBAGE, message)
    return Reading(waiting, _whole(numbers["running"]), _whole(numbers["delayed"]), numbers["oldest"])


def shortened(value: object) -> str:
    """A value as it can stand in a message."""
    text = repr(value)
    return text if len(text) <= _MOST else f"{text[: _MOST - 1]}…"


def _whole(number: float | None) -> int | None:
    # Infinite ones would raise; whoever looks whether readings make sense sees them by their sign.
    return None if number is None else int(number) if abs(number) < float(1 << 53) else -1
