"""SQLite: queries of people, and those that presets make, on a file that is opened for reading only."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from procq.scaling.reading import Reading
from procq.scaling.sources import queries
from procq.scaling.sources.each import read_each
from procq.scaling.sources.port import Kind, SourceError
from procq.scaling.url import split

if TYPE_CHECKING:
    from procq.scaling.place import Place

_ROWS: Final = 2
_INSTRUCTIONS: Final = 10_000
"""Of SQLite's own machine, between two looks at the clock."""


def connect(place: Place, timeout: float) -> SqliteConnection:
    """For all queues in this file."""
    return SqliteConnection(Path(split(place.server).path.text), timeout)


class SqliteConnection:
    """One file, opened for each reading: it may be another one by then. `timeout` in seconds, for each query."""

    def __init__(self, path: Path, timeout: float) -> None:
        self._path = path
        self._timeout = timeout

    def read(self, places: Sequence[Place], within: float) -> Sequence[Reading | SourceError]:
        """One result for each place. Raises SourceError where the file cannot be opened."""
        if not self._path.exists():
            message = f"{places[0].where}: there is no such file; it comes with the first job, or the path is wrong"
            raise SourceError(Kind.REFUSED, message)
        uri = f"file:{quote(str(self._path))}?mode=ro"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=self._timeout)) as connection:
                connection.execute("PRAGMA query_only = 1")
                return read_each(places, lambda place: self._read(connection, place, within))
        except sqlite3.Error as error:
            raise self._wrong(error, places[0].where) from error

    def close(self) -> None:
        """Nothing is open between readings."""

    def _read(self, connection: sqlite3.Connection, place: Place, within: float) -> Reading | SourceError:
        question = queries.sqlite(place, within)
        deadline = time.monotonic() + self._timeout
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _INSTRUCTIONS)
        try:
            cursor = connection.execute(question.text, question.values or {})
            names = [each[0] for each in cursor.description or ()]
            rows: list[Mapping[str, Any]] = [
                dict(zip(names, row, strict=True)) for row in cursor.fetchmany(_ROWS) if names
            ]
        except sqlite3.Error as error:
            return self._wrong(error, place.shown)
        finally:
            connection.rollback()
        return queries.reading(rows, place)

    def _wrong(self, error: sqlite3.Error, where: str) -> SourceError:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_INTERRUPT", "SQLITE_BUSY")):
            what = "the query takes" if name.startswith("SQLITE_INTERRUPT") else "others keep the file locked for"
            return SourceError(Kind.TIMEOUT, f"{where}: {what} longer than {self._timeout:g} s")
        if name == "SQLITE_NOTADB":
            return SourceError(Kind.GARBAGE, f"{where}: the file is no database of SQLite")
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
            return SourceError(Kind.AUTH, f"{where}: procq may not read the file or its directory: {error}")
        if name.startswith("SQLITE_READONLY"):
            return SourceError(Kind.OTHER, f"{where}: a query that reads a queue must not write: {error}")
        kind = Kind.GARBAGE if "no such table" in str(error) else Kind.OTHER
        return SourceError(kind, f"{where}: SQLite says {error}")
