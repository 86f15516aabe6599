"""The file of the journal: its tables, how it is opened for writing, what is thrown away so that it stays small.

SQLite in WAL mode: readers never wait for the writer, nor it for them, and a process that is killed in the middle of
writing leaves a file in which its last batch is there or is not.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from procq.journal.record import Bounds, Record, Sample

SCHEMA: Final = 1
"""The version of the tables; a file of another version is put aside."""
_TABLES: Final = (
    "CREATE TABLE decisions (id INTEGER PRIMARY KEY, at REAL NOT NULL, queue TEXT NOT NULL, before INTEGER NOT NULL,"
    " target INTEGER NOT NULL, wanted INTEGER NOT NULL, reason TEXT NOT NULL, winner TEXT NOT NULL,"
    " inputs TEXT NOT NULL, terms TEXT NOT NULL, limits TEXT NOT NULL)",
    "CREATE INDEX decisions_of ON decisions (queue, id)",
    # No index: each batch would write a page for each queue. Reading it all takes a tenth of a second.
    "CREATE TABLE samples (id INTEGER PRIMARY KEY, at REAL NOT NULL, queue TEXT NOT NULL, waiting REAL,"
    " workers INTEGER NOT NULL, busy INTEGER, wait REAL)",
)
_DECISION: Final = "INSERT INTO decisions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SAMPLE: Final = "INSERT INTO samples VALUES (NULL, ?, ?, ?, ?, ?, ?)"
_WAIT: Final = 2.0
"""Seconds to wait for another writer. There is none, unless one control plane takes over from another."""
_FULL: Final = 0.9
"""The part of the file that may be in use before room is made."""
_AGED: Final = 2_000
"""Rows that are thrown away for their age at once: no batch takes long for that."""
_ROW: Final = 150
"""Bytes of a row besides its texts, generously."""


class Store:
    """The open file. All of it may raise sqlite3.Error and OSError, and belongs to the thread that has opened it."""

    def __init__(self, path: Path, bounds: Bounds) -> None:
        self._path, self._bounds = path, bounds
        self.aside: Path | None = None
        """Where a file is now that was no good; a new one has been begun."""
        try:
            self._open()
        except sqlite3.Error as error:
            self._begin_anew(error)

    def close(self) -> None:
        """Closes it; what the log holds goes into the file."""
        self._connection.close()

    def write(self, batch: Sequence[Record | Sample], now: float) -> None:
        """Writes all or nothing, and throws away what is too old or too much. `now` in seconds since the epoch."""
        try:
            self._write(batch, now)
        except sqlite3.Error as error:
            self._begin_anew(error)
            self._write(batch, now)

    def _begin_anew(self, error: sqlite3.Error) -> None:
        """With a new file, if it is the file that is no good; raises the error where it is not."""
        if not is_broken(error):
            raise error
        self._connection.close()
        self.aside = put_aside(self._path)
        self._open()

    def _write(self, batch: Sequence[Record | Sample], now: float) -> None:
        self._shorten_log()
        decisions = [_row(each) for each in batch if isinstance(each, Record)]
        samples = [
            (each.at, each.queue, each.waiting, each.workers, each.busy, each.wait)
            for each in batch
            if isinstance(each, Sample)
        ]
        needed = len(batch) * _ROW + sum(len(text) for row in decisions for text in row if isinstance(text, str))
        with self._transaction():
            self._make_room(needed)
            self._connection.executemany(_DECISION, decisions)
            self._connection.executemany(_SAMPLE, samples)
            for table, rows in (("decisions", self._bounds.decisions), ("samples", self._bounds.samples)):
                self._trim(table, rows, now - self._bounds.age)

    def _open(self) -> None:
        create(self._path)
        self._connection = sqlite3.connect(self._path, timeout=_WAIT, isolation_level=None)
        try:
            self._set_up()
        except BaseException:
            self._connection.close()
            raise

    def _set_up(self) -> None:
        run, version = self._connection.execute, self._number("PRAGMA user_version")
        if version != SCHEMA and (version or self._number("SELECT count(*) FROM sqlite_master")):
            raise OtherVersion(f"its tables are of version {version}")
        run("PRAGMA auto_vacuum = INCREMENTAL")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run(f"PRAGMA journal_size_limit = {self._bounds.log // 4}")
        self._page = self._number("PRAGMA page_size")
        if not version:
            with self._transaction():
                for table in _TABLES:
                    run(table)
                run(f"PRAGMA user_version = {SCHEMA}")
        if self._number("PRAGMA page_count") * self._page > self._bounds.size:
            with self._transaction():
                self._make_room(0)
            # As a script: by itself it returns nothing, so that Python would leave off after the first page.
            self._connection.executescript("PRAGMA incremental_vacuum")
        # Whatever is reckoned wrongly here: SQLite itself refuses to let the file grow beyond it.
        run(f"PRAGMA max_page_count = {max(1, self._bounds.size // self._page)}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def _shorten_log(self) -> None:
        """Takes the log into the file where it has become long, which a reader may prevent."""
        if self._log_size() > self._bounds.log:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if self._log_size() > self._bounds.log:
                raise LogTooLong("a reader has kept it open for too long")

    def _log_size(self) -> int:
        try:
            return os.stat(f"{self._path}-wal").st_size
        except FileNotFoundError:
            return 0

    def _make_room(self, needed: int) -> None:
        """Throws away a tenth of all rows, the oldest, until so many bytes fit."""
        while self._in_use() + needed > _FULL * self._bounds.size:
            if not any([self._thin(table) for table in ("samples", "decisions")]):
                return

    def _in_use(self) -> int:
        pages = self._number("PRAGMA page_count") - self._number("PRAGMA freelist_count")
        return pages * self._page

    def _number(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])

    def _thin(self, table: str) -> bool:
        """Whether there was something to throw away."""
        first, last = self._connection.execute(f"SELECT min(id), max(id) FROM {table}").fetchone()
        if first is None:
            return False
        self._connection.execute(f"DELETE FROM {table} WHERE id <= ?", (first + (last - first) // 10,))
        return True

    def _trim(self, table: str, rows: int, oldest: float) -> None:
        self._connection.execute(f"DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - ?", (rows,))
        self._connection.execute(
            f"DELETE FROM {table} WHERE at < ? AND id IN (SELECT id FROM {table} ORDER BY id LIMIT {_AGED})", (oldest,)
        )


class LogTooLong(sqlite3.OperationalError):
    """A reader holds an old picture of the file, so that the log beside it cannot be taken into it."""


class OtherVersion(sqlite3.DatabaseError):
    """The file is one of SQLite, but none of ours."""


def is_broken(error: sqlite3.Error) -> bool:
    """Whether it is the file itself that is no good, and not what is around it."""
    if isinstance(error, OtherVersion):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def create(path: Path) -> None:
    """Creates the file for us alone, where there is none: SQLite would let all read it, and follow a link."""
    try:
        # Only where it is new. To close a file lets go of all locks on it that this process has, SQLite's too.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path)) from None


def put_aside(path: Path) -> Path:
    """Gives the file another name, in place of one that had been put aside before. Raises OSError."""
    aside = path.with_name(f"{path.name}.broken")
    os.replace(path, aside)
    for beside in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(f"{path}{beside}")
    return aside


def _row(record: Record) -> tuple[Any, ...]:
    inputs, terms, limits = (json.dumps(each) for each in (dict(record.inputs), record.terms, record.limits))
    numbers = record.before, record.target, record.wanted
    return (record.at, record.queue, *numbers, record.reason, record.winner, inputs, terms, limits)
