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

from procq.journal.record import Bounds, Entry, Past, Record, Sample
from procq.wire import EventView

Row = Record | Sample | Entry
SCHEMA: Final = 2
"""The version of the tables. A file of version 1 is made one of 2; one of any other is put aside."""
_EVENTS: Final = (
    # Events have a number of their own besides: ids leave large gaps, and rows are counted by their numbers.
    "CREATE TABLE events (n INTEGER PRIMARY KEY, id INTEGER NOT NULL UNIQUE, at REAL NOT NULL, kind TEXT NOT NULL,"
    " text TEXT NOT NULL, queue TEXT, worker TEXT, jobs INTEGER, jobs_failed INTEGER, job TEXT,"
    " keeper INTEGER NOT NULL, generation INTEGER)",
)
_TABLES: Final = (
    *_EVENTS,
    "CREATE TABLE decisions (id INTEGER PRIMARY KEY, at REAL NOT NULL, queue TEXT NOT NULL, before INTEGER NOT NULL,"
    " target INTEGER NOT NULL, wanted INTEGER NOT NULL, reason TEXT NOT NULL, winner TEXT NOT NULL,"
    " inputs TEXT NOT NULL, terms TEXT NOT NULL, limits TEXT NOT NULL)",
    "CREATE INDEX decisions_of ON decisions (queue, id)",
    # No index: each batch would write a page for each queue. Reading it all takes a tenth of a second.
    "CREATE TABLE samples (id INTEGER PRIMARY KEY, at REAL NOT NULL, queue TEXT NOT NULL, waiting REAL,"
    " workers INTEGER NOT NULL, busy INTEGER, wait REAL, started INTEGER)",
)
_SINCE_1: Final = (*_EVENTS, "ALTER TABLE samples ADD COLUMN started INTEGER")
_DECISION: Final = "INSERT INTO decisions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SAMPLE: Final = "INSERT INTO samples VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)"
_EVENT: Final = "INSERT OR IGNORE INTO events VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PAGE: Final = "SELECT id, at, kind, text, queue, worker, jobs, jobs_failed, job FROM events WHERE id > ? AND id < ?"
PAGE: Final = 2_000
"""Rows that are read at once."""
_KINDS: Final = {"events": ("n", 150), "decisions": ("id", 500), "samples": ("id", 60)}
"""The key of each table, and about how many bytes a row of it takes."""
_LARGEST: Final = 2**63 - 1
"""Of SQLite's whole numbers: what workers say of themselves may be larger."""
_ENDS: Final = (
    "SELECT worker, kind, max(generation) FROM events WHERE keeper = ? AND generation IS NOT NULL GROUP BY worker, kind"
)
_SAVED: Final = (
    "SELECT coalesce("
    "(SELECT max(at) FROM events WHERE keeper = ?1 AND kind = 'changed' AND text LIKE '% saved: %'), "
    # Else it is the one that it began with, if what happened first has not been thrown away.
    "(SELECT min(at) FROM events WHERE keeper = ?1 AND EXISTS (SELECT 1 FROM events WHERE n = 1 OR keeper <> ?1)))"
)
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

    def write(self, batch: Sequence[Row], now: float) -> None:
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

    def _write(self, batch: Sequence[Row], now: float) -> None:
        self._shorten_log()
        decisions = [_row(each) for each in batch if isinstance(each, Record)]
        samples = [
            (each.at, each.queue, each.waiting, each.workers, each.busy, each.wait, each.started)
            for each in batch
            if isinstance(each, Sample)
        ]
        events = [_event_row(each) for each in batch if isinstance(each, Entry)]
        texts = (len(text) for row in (*decisions, *events) for text in row if isinstance(text, str))
        written = (_EVENT, events, "events"), (_DECISION, decisions, "decisions"), (_SAMPLE, samples, "samples")
        with self._transaction():
            self._make_room(len(batch) * _ROW + sum(texts))
            for insert, rows, table in written:
                if rows:
                    self._connection.executemany(insert, rows)
                    self._trim(table, getattr(self._bounds, table), now - self._bounds.age)

    def page(self, after: int, before: int, newest: bool) -> list[EventView]:
        """As `procq.journal.reader.events`."""
        return event_page(self._connection, after, before, newest)

    def past(self, keeper: int) -> Past:
        """What is known of before, and of `keeper`; 0: nothing can be known of it."""
        newest = self._number("SELECT ifnull(max(id), 0) FROM events")
        if not keeper:
            return Past(newest)
        (saved,) = self._connection.execute(_SAVED, (keeper,)).fetchone()
        told = self._connection.execute(_ENDS, (keeper,)).fetchall()
        return Past(newest, {(worker, kind): generation for worker, kind, generation in told}, saved)

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
        if version not in (1, SCHEMA) and (version or self._number("SELECT count(*) FROM sqlite_master")):
            raise OtherVersion(f"its tables are of version {version}")
        run("PRAGMA auto_vacuum = INCREMENTAL")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run(f"PRAGMA journal_size_limit = {self._bounds.log // 4}")
        self._page = self._number("PRAGMA page_size")
        if version != SCHEMA:
            with self._transaction():
                for table in _SINCE_1 if version else _TABLES:
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
        """Throws away a tenth of what takes most room, the oldest, until so many bytes fit."""
        while self._in_use() + needed > _FULL * self._bounds.size:
            first, last, table = max(((*self._ends_of(table), table) for table in _KINDS), key=_taken)
            if last < first:
                return
            key, _ = _KINDS[table]
            self._connection.execute(f"DELETE FROM {table} WHERE {key} <= ?", (first + (last - first) // 10,))

    def _ends_of(self, table: str) -> tuple[int, int]:
        """The first and the last key; the last is below the first where there is no row."""
        key, _ = _KINDS[table]
        first, last = self._connection.execute(f"SELECT min({key}), max({key}) FROM {table}").fetchone()
        return (1, 0) if first is None else (first, last)

    def _in_use(self) -> int:
        pages = self._number("PRAGMA page_count") - self._number("PRAGMA freelist_count")
        return pages * self._page

    def _number(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])

    def _trim(self, table: str, rows: int, oldest: float) -> None:
        key, _ = _KINDS[table]
        self._connection.execute(f"DELETE FROM {table} WHERE {key} <= (SELECT max({key}) FROM {table}) - ?", (rows,))
        self._connection.execute(
            f"DELETE FROM {table} WHERE at < ? AND {key} IN (SELECT {key} FROM {table} ORDER BY {key} LIMIT {_AGED})",
            (oldest,),
        )


def _taken(ends: tuple[int, int, str]) -> int:
    """About how many bytes the rows between these keys take."""
    first, last, table = ends
    return (last - first + 1) * _KINDS[table][1]


def event_page(connection: sqlite3.Connection, after: int, before: int, newest: bool) -> list[EventView]:
    """A page of the events between two ids: the oldest, or the newest, the newest first. Raises sqlite3.Error."""
    # All at once: a reader that takes its time would hold up the writer's housekeeping.
    query = f"{_PAGE} ORDER BY id {'DESC' if newest else 'ASC'} LIMIT {PAGE}"
    return [EventView(*row) for row in connection.execute(query, (after, min(before, _LARGEST))).fetchall()]


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


def _event_row(entry: Entry) -> tuple[Any, ...]:
    event = entry.event
    texts = (_unicode(text) for text in (event.kind, event.text, event.queue, event.worker))
    jobs = (None if number is None else min(number, _LARGEST) for number in (event.jobs, event.jobs_failed))
    return (event.id, event.at, *texts, *jobs, _unicode(event.job), entry.keeper, entry.generation)


def _unicode(text: str | None) -> str | None:
    """SQLite takes nothing else: bytes of file names that are none become question marks."""
    return text if text is None or text.isascii() else text.encode("utf-8", "replace").decode()
