"""The jobs of the quick start: real work on the sources of Python's standard library.

Everything is written next to this file: the queues into `queue.db`, the results into `words.db` and `archive/`.
"""

from __future__ import annotations

import lzma
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from huey import SqliteHuey

HERE = Path(__file__).resolve().parent
LIBRARY = Path(re.__file__).resolve().parent.parent
WORD = re.compile(r"[A-Za-z_]{3,}")


def _queue(name: str) -> SqliteHuey:
    # No results are kept: nobody asks for them. A worker waits up to `timeout` seconds for the others' writes.
    return SqliteHuey(name, filename=str(HERE / "queue.db"), results=False, fsync=False, timeout=30)


index_queue = _queue("index")
shrink_queue = _queue("shrink")


@contextmanager
def words_database() -> Iterator[sqlite3.Connection]:
    """The word index, one row a word and file; committed at the end of the block."""
    with closing(sqlite3.connect(HERE / "words.db", timeout=30)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE IF NOT EXISTS words (word, file, count, PRIMARY KEY (word, file)) WITHOUT ROWID")
        yield database


@index_queue.task(name="index")
def index(file: str) -> None:
    """Counts the words of one source file; `file` is relative to the library."""
    start = time.monotonic()
    counts = Counter(WORD.findall((LIBRARY / file).read_text("utf-8", errors="replace")))
    with words_database() as database:
        database.execute("DELETE FROM words WHERE file = ?", (file,))
        database.executemany("INSERT INTO words VALUES (?, ?, ?)", ((word, file, n) for word, n in counts.items()))
    _report("index", file, f"{counts.total():>8,} words", start)


@shrink_queue.task(name="shrink")
def shrink(file: str) -> None:
    """Compresses one source file into `archive/`."""
    start = time.monotonic()
    text = (LIBRARY / file).read_bytes()
    packed = lzma.compress(text)
    target = HERE / "archive" / f"{file}.xz"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(packed)
    _report("shrink", file, f"{len(text) / 1024:>5.0f} → {len(packed) / 1024:.0f} KiB", start)


def _report(job: str, file: str, result: str, start: float) -> None:
    print(f"{job:<7} {file:<36} {result:<16} {(time.monotonic() - start) * 1000:>6.0f} ms", flush=True)
