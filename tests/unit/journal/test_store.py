"""What is kept and what is thrown away; files that are broken, of another version, or not ours; readers."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from procq.journal.reader import last, samples
from procq.journal.record import Bounds, JournalUnreadable
from procq.journal.store import LogTooLong, Store
from tests.unit.journal.making import count, record, sample, sizes

KIB = 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a place" / "journal?.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    path.parent.mkdir()
    with closing(Store(path, Bounds())) as store:
        yield store


def test_what_is_written_is_read_as_it_was(store: Store, path: Path) -> None:
    store.write([record(1), sample(1), record(2), record(3, "reports")], 1000.0)
    store.write([sample(2, "reports"), sample(3)], 1000.0)
    assert last(path, "emails", 5) == [record(2), record(1)]
    assert last(path, "emails", 1) == [record(2)]
    assert last(path, "others", 1) == []
    assert samples(path, "emails", 1001.0, 1003.0) == [sample(1)]
    assert samples(path, "emails", 0.0, 1003.1) == [sample(1), sample(3)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_batch_is_written_as_a_whole_or_not_at_all(store: Store, path: Path) -> None:
    with pytest.raises(OverflowError):
        store.write([record(1), replace(sample(1), workers=2**70)], 1000.0)
    assert last(path, "emails", 5) == []
    store.write([record(2)], 1000.0)
    assert last(path, "emails", 5) == [record(2)]


def test_after_it_has_been_closed_it_is_one_file(path: Path, store: Store) -> None:
    store.write([record(1)], 1000.0)
    store.close()
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert last(path, "emails", 5) == [record(1)]
    with closing(Store(path, Bounds())) as again:
        assert again.aside is None
        again.write([record(2)], 1000.0)
    assert last(path, "emails", 5) == [record(2), record(1)]


def test_without_a_journal_there_is_nothing(path: Path) -> None:
    assert last(path, "emails", 5) == []
    assert samples(path, "emails", 0.0, 1e10) == []
    assert not path.exists()


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_rows_are_bounded(tmp_path: Path) -> None:
    path, written = tmp_path / "journal.db", 0
    with closing(Store(path, Bounds(decisions=700, samples=3_000))) as store:
        while written < 100_000:
            store.write([sample(n) for n in range(written, written + 900)], 1000.0)
            store.write([record(n) for n in range(written + 900, written + 1000)], 1000.0)
            written += 1000
    assert (count(path, "decisions"), count(path, "samples")) == (700, 3_000)
    assert last(path, "emails", 1) == [record(99_999)]
    assert samples(path, "emails", 0.0, 1e10)[-1] == sample(99_899)
    assert max(sizes(path)) < 2048 * KIB


@pytest.mark.parametrize("batch", [1, 37, 1000])
def test_the_file_is_bounded(tmp_path: Path, batch: int) -> None:
    path, bounds, largest = tmp_path / "journal.db", Bounds(size=1024 * KIB, log=512 * KIB), (0, 0)
    with closing(Store(path, bounds)) as store:
        for start in range(0, 100 * batch if batch < 100 else 20_000, batch):
            store.write([record(n) if n % 10 else sample(n) for n in range(start, start + batch)], 1000.0)
            file, log = sizes(path)
            largest = max(largest[0], file), max(largest[1], log)
    assert largest[0] <= bounds.size
    # The log is looked at before each batch: it may exceed its bound by what one batch changes.
    assert largest[1] <= bounds.log + 1024 * KIB
    newest = last(path, "emails", 1)[0].before
    assert newest == start + batch - 1 or (start + batch - 1) % 10 == 0


def test_a_file_that_has_become_too_large_is_made_smaller(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(Store(path, Bounds())) as store:
        store.write([record(n) for n in range(5_000)], 1000.0)
    assert path.stat().st_size > 1024 * KIB
    with closing(Store(path, Bounds(size=512 * KIB))) as store:
        store.write([record(9_999)], 1000.0)
    assert path.stat().st_size <= 512 * KIB
    assert [each.before for each in last(path, "emails", 2)] == [9_999, 4_999]


def test_age_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(Store(path, Bounds(age=100.0))) as store:
        for second in range(1000, 1400, 10):
            store.write([record(0, at=second), sample(0, at=second)], second)
    assert [each.at for each in last(path, "emails", 99)] == [float(each) for each in range(1390, 1280, -10)]
    assert len(samples(path, "emails", 0.0, 1e10)) == 11


def test_rows_that_are_larger_than_the_file_are_refused_and_leave_it_well(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(Store(path, Bounds(size=128 * KIB))) as store:
        store.write([record(1)], 1000.0)
        with pytest.raises(sqlite3.OperationalError, match="full"):
            store.write([record(n) for n in range(1_000)], 1000.0)
        assert last(path, "emails", 1) == [record(1)]
        store.write([record(2)], 1000.0)
    assert last(path, "emails", 1) == [record(2)]


def test_a_reader_that_stays_does_not_let_the_log_grow_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procq.journal.store._WAIT", 0.0)
    path, bounds = tmp_path / "journal.db", Bounds(log=256 * KIB)
    with closing(Store(path, bounds)) as store:
        store.write([record(1)], 1000.0)
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM decisions").fetchall()
            with pytest.raises(LogTooLong):
                for _ in range(100):
                    store.write([record(n) for n in range(100)], 1000.0)
            assert sizes(path)[1] < 2 * bounds.log
        store.write([record(7)], 1000.0)
        assert sizes(path)[1] < bounds.log
    assert last(path, "emails", 1) == [record(7)]


# --- files that are no good ------------------------------------------------------------------------------------------


def garbage(path: Path) -> None:
    path.write_bytes(b"no database at all " * 500)


def torn(path: Path) -> None:
    with closing(Store(path, Bounds())) as store:
        store.write([record(n) for n in range(500)], 1000.0)
    # All but the first page.
    path.write_bytes(path.read_bytes()[:4096] + b"\xa5" * 100_000)


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE decisions (something)")
        connection.commit()


@pytest.mark.parametrize("spoil", [garbage, torn, newer, foreign])
def test_a_file_that_is_no_good_is_put_aside(tmp_path: Path, spoil: object) -> None:
    path = tmp_path / "journal.db"
    assert callable(spoil)
    spoil(path)
    (tmp_path / "journal.db.broken").write_text("an earlier one")
    before = path.read_bytes()
    with closing(Store(path, Bounds())) as store:
        store.write([record(1)], 1000.0)
        assert store.aside == tmp_path / "journal.db.broken"
        assert store.aside.read_bytes()[100:] == before[100:]
        assert last(path, "emails", 5) == [record(1)]


@pytest.mark.parametrize("spoil", [garbage, torn, newer])
def test_a_reader_tells_of_a_file_that_is_no_good(tmp_path: Path, spoil: object) -> None:
    path = tmp_path / "journal.db"
    assert callable(spoil)
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(JournalUnreadable, match=r"journal\.db"):
        last(path, "emails", 1)
    with pytest.raises(JournalUnreadable):
        samples(path, "emails", 0.0, 1.0)
    assert path.read_bytes() == before


def test_an_empty_file_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.touch()
    assert last(path, "emails", 1) == []
    with closing(Store(path, Bounds())) as store:
        store.write([record(1)], 1000.0)
        assert store.aside is None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="regular"):
        Store(path, Bounds())
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_nothing_can_be_written_beside_is_read(store: Store, path: Path) -> None:
    store.write([record(1)], 1000.0)
    store.close()
    alone = path.parent / "journal.db"
    path.rename(alone)
    # What SQLite would write beside it cannot be made: as on a disk that is read-only, for root too.
    (path.parent / "journal.db-shm").mkdir()
    (path.parent / "journal.db-wal").mkdir()
    assert last(alone, "emails", 1) == [record(1)]


# --- a reader meanwhile ----------------------------------------------------------------------------------------------


def test_a_reader_while_it_is_written_sees_whole_batches(store: Store, path: Path) -> None:
    store.write([record(0)] * 10, 1000.0)
    done, seen = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            found = last(path, "emails", 100_000)
            seen.append(len(found))
            assert len({each.before for each in found[:10]}) == 1

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 300):
        store.write([record(number)] * 10, 1000.0)
    done.set()
    reader.join()
    assert seen == sorted(seen)
    assert all(number % 10 == 0 for number in seen)
    assert len(set(seen)) > 3
