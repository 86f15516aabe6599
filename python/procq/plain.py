"""Plain data (what JSON can hold) that somebody else has written: read with its kind made sure of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Plain = dict[str, Any]
T = TypeVar("T")


def maybe(read: Callable[[object], T], value: object) -> T | None:
    """What `read` makes of a value, None of None."""
    return None if value is None else read(value)


def mapping(value: object) -> Plain:
    """A mapping. These raise TypeError for anything else."""
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a mapping, found {value!r:.60}")
    return dict(value)


def listed(value: object) -> list[Any]:
    """A list."""
    if not isinstance(value, list | tuple):
        raise TypeError(f"expected a list, found {value!r:.60}")
    return list(value)


def text(value: object) -> str:
    """A text."""
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r:.60}")
    return value


def flag(value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"expected true or false, found {value!r:.60}")
    return value


def whole(value: object) -> int:
    """A whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected a whole number, found {value!r:.60}")
    return value


def number(value: object) -> float:
    """A number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, found {value!r:.60}")
    return value
