"""Reads the journal, also while it is written, and after procq has been killed. Nothing is changed by that."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from procq.journal.record import JournalUnreadable, Record, Sample
from procq.journal.store import PAGE, SCHEMA, event_page, is_broken
from procq.wire import EventView

_WAIT: Final = 2.0
_DECISIONS: Final = (
    "SELECT at, queue, before, target, wanted, reason, winner, inputs, terms, limits FROM decisions "
    "WHERE queue = ? ORDER BY id DESC LIMIT ?"
)
_SAMPLES: Final = (
    "SELECT at, queue, waiting, workers, busy, wait, {started} FROM samples "
    "WHERE queue = ? AND at >= ? AND at < ? ORDER BY id"
)
_ALL_DECISIONS: Final = (
    "SELECT at, queue, before, target, wanted, reason, winner, inputs, terms, limits, id FROM decisions "
    "WHERE id > ? ORDER BY id LIMIT ?"
)
_ALL_SAMPLES: Final = (
    "SELECT at, queue, waiting, workers, busy, wait, {started}, id FROM samples WHERE id > ? ORDER BY id LIMIT ?"
)
LARGEST_ID: Final = 2**63 - 1


def events(path: Path, after: int = 0, before: int = LARGEST_ID, *, newest: bool = False) -> list[EventView]:
    """A page of the events with ids between these two: the oldest of them, or the newest, the newest first.

    None where there is no journal. Raises JournalUnreadable.
    """
    with _reading(path) as connection:
        if connection is None or not _rows(connection, "SELECT 1 FROM sqlite_master WHERE name = ?", ("events",)):
            return []
        return event_page(connection, after, before, newest)


def every_decision(path: Path) -> Iterator[Record]:
    """All decisions, in their order. Raises JournalUnreadable."""
    return (_record(row) for row in _every(path, _ALL_DECISIONS))


def every_sample(path: Path) -> Iterator[Sample]:
    """All samples, in their order. Raises JournalUnreadable."""
    return (Sample(*row) for row in _every(path, _ALL_SAMPLES))


def _every(path: Path, query: str) -> Iterator[Sequence[Any]]:
    """Rows without the number at their end, which is where the next page begins."""
    after = 0
    while True:
        with _reading(path) as connection:
            page = _rows(connection, _with_started(connection, query), (after, PAGE))
        if not page:
            return
        after = page[-1][-1]
        yield from (row[:-1] for row in page)


def last(path: Path, queue: str, number: int) -> list[Record]:
    """The last `number` decisions about a queue, the newest first; none where there is no journal.

    Raises JournalUnreadable.
    """
    with _reading(path) as connection:
        return [_record(row) for row in _rows(connection, _DECISIONS, (queue, number))]


def samples(path: Path, queue: str, since: float, until: float) -> list[Sample]:
    """What a queue was like from `since` until before `until`, in seconds since the epoch, in the order of time.

    Where nothing changes there is one a minute (`procq.journal.writer.SAME_EVERY`). Raises JournalUnreadable.
    """
    with _reading(path) as connection:
        return [Sample(*row) for row in _rows(connection, _with_started(connection, _SAMPLES), (queue, since, until))]


def _with_started(connection: sqlite3.Connection | None, query: str) -> str:
    """A query for a file that may be of version 1, in which nobody counted that."""
    old = connection is not None and _rows(connection, "PRAGMA user_version", ())[0][0] == 1
    return query.format(started="NULL" if old else "started")


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A connection; None where nothing has been written yet."""
    try:
        if not path.exists():
            yield None
            return
        with closing(_connect(path)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if not 0 <= version <= SCHEMA:
                raise JournalUnreadable(
                    f"The journal {path} is of another version of procq.", "Use the procq that writes it."
                )
            yield connection if version else None
    except (sqlite3.Error, OSError, ValueError, TypeError) as error:
        hint = "The next procq that runs here puts it aside." if _is_broken(error) else None
        raise JournalUnreadable(f"The journal {path} cannot be read: {error}.", hint) from error


def _connect(path: Path) -> sqlite3.Connection:
    """Reads only; as it is on the disk where nothing can be written beside it, as on a disk that is read-only."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=_WAIT)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        return sqlite3.connect(f"{uri}&immutable=1", uri=True, timeout=_WAIT)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _rows(connection: sqlite3.Connection | None, query: str, values: Sequence[object]) -> list[Any]:
    # All at once: a reader that takes its time would hold up the writer's housekeeping.
    return [] if connection is None else connection.execute(query, values).fetchall()


def _record(row: Sequence[Any]) -> Record:
    at, queue, before, target, wanted, reason, winner, *texts = row
    inputs, terms, limits = (json.loads(text) for text in texts)
    said = tuple((name, count, words) for name, count, words in terms)
    return Record(at, queue, before, target, wanted, reason, winner, inputs, said, tuple(limits))


def _is_broken(error: Exception) -> bool:
    return isinstance(error, sqlite3.Error) and is_broken(error)
