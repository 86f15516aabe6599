"""What every source is to procq: a connection to one server, and the ways in which it fails."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from procq.scaling.reading import Reading

if TYPE_CHECKING:
    from procq.scaling.place import Place


class Kind(StrEnum):
    """Why a queue could not be read."""

    REFUSED = "refused"
    """Nobody is there: connection refused, no such host, no such file."""
    TIMEOUT = "timeout"
    AUTH = "auth"
    """It wants a password, or another one, or does not allow this."""
    GARBAGE = "garbage"
    """It answers, but not with what was expected."""
    MISSING_LIBRARY = "missing library"
    OTHER = "other"


class SourceError(Exception):
    """A queue could not be read; says what happened, where, and what can be done. Holds no secrets."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


_STEPS: Final = (0.0, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0)


def rounded(within: float) -> float:
    """What `within` is rounded up to: each value is a round trip of its own for a server."""
    for step in _STEPS:
        if within <= step:
            return step
    return -(-within // 60.0) * 60.0


class Connection(Protocol):
    """One server; used by one thread at a time. It connects when it is first read, and again after an error."""

    def read(self, places: Sequence[Place], within: float) -> Sequence[Reading | SourceError]:
        """One result for each place, in order. Delayed jobs that are due `within` seconds count as waiting.

        Raises SourceError where nothing at all can be read from the server.
        """
        ...

    def close(self) -> None:
        """Leaves nothing open. It may be read again afterwards."""
        ...
