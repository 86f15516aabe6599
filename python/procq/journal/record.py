"""What the journal holds, and how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from procq.errors import ProcqError
from procq.wire import DecisionView, EventView, TermView

FILE: Final = "journal.sqlite"
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
    """What a queue was like at a moment, in seconds since the epoch; None: unknown.

    Jobs waited for `wait` seconds; `started` are all that its workers had begun by then, as far as they say.
    """

    at: float
    queue: str
    waiting: float | None
    workers: int
    busy: int | None
    wait: float | None
    started: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An event. `keeper` is the procq that it happened to; `generation` that of the worker, where it is
    about its end: the keeper may tell that again.
    """

    event: EventView
    keeper: int = 0
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """What a journal knows when a control plane begins.

    `newest` is the last id in use, 0 without one. Of the procq that runs: `ends` has, by worker and kind of event, the
    newest generation whose end was told, `saved` since when its manifest has been in force, in seconds since the epoch.
    """

    newest: int = 0
    ends: Mapping[tuple[str | None, str], int] = field(default_factory=dict)
    saved: float | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept: rows of each kind, seconds, bytes of the file and of the log that SQLite keeps beside it.

    Rows are thrown away before the file is full, the oldest of the kind that takes most room first; for their number
    and age when others of their kind are written. A sample takes about 60 bytes,
    an event 150, a decision 500.
    """

    events: int = 100_000
    decisions: int = 100_000
    samples: int = 1_000_000
    age: float = 7 * 86_400.0
    size: int = 64 * _MIB
    log: int = 16 * _MIB


def decision_view(record: Record) -> DecisionView:
    """A decision as the API tells it."""
    return DecisionView(
        queue=record.queue,
        at=record.at,
        before=record.before,
        target=record.target,
        wanted=record.wanted,
        reason=record.reason,
        winner=record.winner,
        limits=tuple(record.limits),
        inputs=tuple(TermView(name, value) for name, value in record.inputs.items() if value is not None),
        terms=tuple(TermView(*term) for term in record.terms),
    )
