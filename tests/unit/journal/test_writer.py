"""The journal from the side of the loop: it costs nothing unused, waits for nothing, and tells of trouble once."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from procq.journal.reader import last, samples
from procq.journal.record import Bounds, Record, Sample
from procq.journal.store import Store
from procq.journal.writer import Journal
from tests.unit.journal.making import count, record, sizes

KIB = 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "procq-journal"]


def until(condition: Callable[[], object]) -> None:
    """Waits for it."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        threading.Event().wait(0.005)


def test_nothing_is_there_until_something_is_written(path: Path) -> None:
    journal = Journal(path)
    assert not threads()
    asyncio.run(journal.close())
    assert not path.exists()
    assert not threads()


def test_what_is_added_is_written_in_batches_soon_after(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    write = Store.write

    def counted(self: Store, batch: Sequence[Record | Sample], now: float) -> None:
        batches.append(len(batch))
        write(self, batch, now)

    monkeypatch.setattr(Store, "write", counted)
    journal = Journal(path, clock=lambda: 1000.0, gather=0.2)
    for number in range(50):
        journal.add(record(number))
    until(lambda: sum(batches) == 50)
    journal.add(record(50))
    until(lambda: sum(batches) == 51)
    asyncio.run(journal.close())
    assert len(batches) <= 3
    assert [each.before for each in last(path, "emails", 2)] == [50, 49]
    assert journal.lost == 0
    assert not threads()


def test_closing_writes_the_rest_at_once_and_nothing_after_it(path: Path) -> None:
    journal = Journal(path, clock=lambda: 1000.0, gather=3600.0)
    for number in range(5_000):
        journal.add(record(number))
    asyncio.run(journal.close(60.0))
    journal.add(record(9_999))
    assert not threads()
    assert count(path, "decisions") == 5_000
    assert sizes(path)[1] == 0


def test_samples_come_ten_seconds_apart_and_a_minute_where_nothing_changes(path: Path) -> None:
    journal = Journal(path, clock=lambda: 1000.0)
    for second in range(1000, 1200):
        journal.sample(second, "busy", float(second), 3, 2, None)
        journal.sample(second, "calm", 0.0, 1, 0, 0.5)
    # The clock has been put back.
    journal.sample(500, "calm", 0.0, 1, 0, 0.5)
    asyncio.run(journal.close())
    assert [each.at for each in samples(path, "busy", 0, 1e10)] == list(range(1000, 1200, 10))
    assert [each.at for each in samples(path, "calm", 0, 1e10)] == [1000, 1060, 1120, 1180, 500]
    assert samples(path, "calm", 1000, 1001) == [Sample(1000.0, "calm", 0.0, 1, 0, 0.5)]
    assert samples(path, "busy", 1000, 1001)[0].wait is None


def test_a_hundred_thousand_rows(path: Path) -> None:
    bounds = Bounds(decisions=2_000, samples=20_000, size=2048 * KIB)
    journal = Journal(path, bounds, clock=lambda: 1000.0, gather=0.0)
    for number in range(100_000):
        if number % 10:
            journal.sample(1000.0 + 10 * number, f"q{number % 7}", number, 3, 2, 0.5)
        else:
            journal.add(record(number))
        if number % 5_000 == 0:
            until(lambda: not journal._pending)
    asyncio.run(journal.close(60.0))
    assert journal.lost == 0
    assert count(path, "decisions") <= 2_000
    assert count(path, "samples") <= 20_000
    assert path.stat().st_size <= bounds.size
    assert last(path, "emails", 1) == [record(99_990)]


# --- trouble ---------------------------------------------------------------------------------------------------------


def full(self: Store, batch: Sequence[Record | Sample], now: float) -> None:
    raise sqlite3.OperationalError("database or disk is full")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("procq.journal.writer._AGAIN", (0.02, 0.04))


@pytest.mark.usefixtures("quick")
def test_a_full_disk_stops_nothing_and_is_told_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    journal = Journal(path, tell=told.append, clock=lambda: 1000.0, gather=0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", full)
        for number in range(5):
            journal.add(record(number))
            until(lambda: journal.lost == number + 1)  # noqa: B023
    journal.add(record(7))
    until(lambda: path.exists() and last(path, "emails", 1) == [record(7)])
    asyncio.run(journal.close())
    assert told == [
        f"the journal cannot be written, procq goes on without it: {path}: database or disk is full",
    ]
    assert journal.lost == 5


@pytest.mark.usefixtures("quick")
def test_what_waits_when_the_trouble_ends_is_written_without_anything_new(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(path, clock=lambda: 1000.0, gather=0.2)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", full)
        for number in range(4_000):
            journal.add(record(number))
        until(lambda: journal.lost >= 1_000)
    until(lambda: path.exists() and last(path, "emails", 1) == [record(3_999)])
    asyncio.run(journal.close())


def test_where_there_is_no_place_for_it_nothing_is_stopped(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "file").touch()
    journal = Journal(tmp_path / "file" / "journal.db", tell=told.append, gather=0.0)
    for number in range(3):
        journal.add(record(number))
    asyncio.run(journal.close())
    assert journal.lost == 3
    assert len(told) == 1 and "goes on without it" in told[0]


def test_a_broken_file_is_told_and_put_aside(path: Path) -> None:
    path.write_bytes(b"no database at all " * 500)
    told: list[str] = []
    journal = Journal(path, tell=told.append, clock=lambda: 1000.0, gather=0.0)
    journal.add(record(1))
    asyncio.run(journal.close())
    assert told == [f"the journal could not be read and begins anew; the old one is {path}.broken"]
    assert last(path, "emails", 1) == [record(1)]


def test_a_file_that_breaks_meanwhile_is_put_aside_too(path: Path) -> None:
    told: list[str] = []
    journal = Journal(path, tell=told.append, clock=lambda: 1000.0, gather=0.0)
    for number in range(500):
        journal.add(record(number))
    until(lambda: not journal._pending and last(path, "emails", 1) == [record(499)])
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        # The writer must not know the pages from memory.
        other.execute("INSERT INTO samples VALUES (NULL, 1, 'x', 1, 1, 1, 1, NULL)")
        other.commit()
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * 200_000)
        journal.add(record(1000))
        until((path.parent / "journal.db.broken").exists)
    until(lambda: last(path, "emails", 1) == [record(1000)])
    asyncio.run(journal.close())
    assert len(told) == 1 and "begins anew" in told[0]


@contextmanager
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk that does not answer until the event is set."""
    go, write = threading.Event(), Store.write

    def slow(self: Store, batch: Sequence[Record | Sample], now: float) -> None:
        assert go.wait(60)
        write(self, batch, now)

    monkeypatch.setattr(Store, "write", slow)
    try:
        yield go
    finally:
        go.set()
        until(lambda: not threads())


def test_a_disk_that_does_not_answer_holds_nobody_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stuck(monkeypatch) as go:
        journal = Journal(path, clock=lambda: 1000.0, gather=0.0)
        journal.add(record(0))
        until(lambda: not journal._pending)
        for number in range(1, 12_001):
            journal.add(record(number))
        # What is written is bounded by what waits, and the oldest is lost.
        assert journal.lost == 2_000
        go.set()
        asyncio.run(journal.close(60.0))
    assert count(path, "decisions") == 10_001
    assert [each.before for each in last(path, "emails", 10_001)][-2:] == [2_001, 0]


def test_closing_does_not_wait_for_a_disk_that_does_not_answer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stuck(monkeypatch):
        journal = Journal(path, gather=0.0)
        journal.add(record(0))
        asyncio.run(journal.close(0.05))
        assert threads()


def test_rows_that_cannot_be_written_are_lost_and_told(path: Path) -> None:
    told: list[str] = []
    journal = Journal(path, tell=told.append, gather=0.0)
    journal.sample(1.0, "x" * 10, 1.0, 2**70, None, None)
    asyncio.run(journal.close())
    assert journal.lost == 1 and "too large" in told[0]


def test_sqlite_is_not_loaded_for_those_who_do_not_write() -> None:
    import subprocess

    code = "import sys, procq.journal.writer; sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
