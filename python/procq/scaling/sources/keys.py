"""How libraries keep their queues in Redis: which commands to send, and what the replies mean. No I/O.

A recipe is a generator: it yields the commands of a round trip, is sent the replies, and returns the reading. A reply
that is an error is an exception among the replies.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from procq.scaling.reading import Reading

Command: TypeAlias = tuple[str | int | float | bytes, ...]
Recipe: TypeAlias = Generator[Sequence[Command], list[Any], Reading]


@dataclass(frozen=True, slots=True)
class Moment:
    """`now` on the server's clock; what is due `within` seconds counts as waiting."""

    now: float
    within: float

    @property
    def due(self) -> float:
        """The time up to which delayed jobs count as waiting."""
        return self.now + self.within


def said(reply: Any) -> Any:
    """The reply. Raises it where it is an error."""
    if isinstance(reply, Exception):
        raise reply
    return reply


def either(first: Any, second: Any) -> Any:
    """The one of two replies that is no error: they asked the same of two types of key."""
    return said(second) if isinstance(first, Exception) else first


def whole(reply: Any) -> int:
    """The number that was replied."""
    return int(said(reply))


def spread(first: int, count: int, most: int, each: int) -> list[tuple[int, int]]:
    """Which places of a list to look at, as ranges with both ends, of the `count` from `first` on.

    That is all of them, or where there are more than `most`, so many in groups of `each`, which lie evenly.
    """
    if count <= most:
        return [(first, first + count - 1)] if count else []
    groups = most // each
    starts = [first + index * (count - each) // (groups - 1) for index in range(groups)]
    return [(start, start + each - 1) for start in starts]


def scaled(found: int, seen: int, count: int) -> int:
    """How many of `count` it is, where it is `found` of those that were `seen`."""
    return round(found * count / seen) if seen else 0


def text(name: bytes | str) -> str:
    """A key or member as text."""
    return name.decode(errors="surrogateescape") if isinstance(name, bytes) else name


def scored(reply: Any) -> list[tuple[bytes, float]]:
    """The members of a sorted set with their scores."""
    flat = said(reply)
    return [(member, float(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)]
