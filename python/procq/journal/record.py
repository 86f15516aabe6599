"""What the journal holds, and how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from procq.errors import ProcqError

FILE: Final = "journal.db"
"""Its name in the state directory of a project."""
_MIB: Final = 1 << 20


class JournalUnreadable(ProcqError):
    """The journal exists and cannot be read."""


@dataclass(frozen=True, slots=True)
class Record:
    """One decision about one queue: from `before` workers to `target`, where the load alone asked for `wanted`.

    `at` is in seconds since the epoch. `inputs` are what was known, `terms` what each rule made of it (its name, how
    many workers, in words), `winner` the one that counted, `limits` what clamped it afterwards, in that order.
    """

    at: float
    queue: str
    before: int
    target: int
    wanted: int
    reason: str
    winner: str
    inputs: Mapping[str, float | None]
    terms: tuple[tuple[str, float, str], ...]
    limits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """What a queue was like at a moment, in seconds since the epoch; None: unknown. Jobs waited for `wait` seconds."""

    at: float
    queue: str
    waiting: float | None
    workers: int
    busy: int | None
    wait: float | None


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept: rows of each kind, seconds, bytes of the file and of the log that SQLite keeps beside it.

    Rows are thrown away before the file is full, the oldest first. A sample takes about 60 bytes, a decision 500.
    """

    decisions: int = 100_000
    samples: int = 1_000_000
    age: float = 7 * 86_400.0
    size: int = 64 * _MIB
    log: int = 16 * _MIB
