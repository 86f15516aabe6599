"""Events in the journal: kept within bounds, written soon, read page by page, and files of the version before."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from procq.errors import UsageError
from procq.journal.reader import events, last
from procq.journal.record import Bounds, Entry, JournalUnreadable, Past
from procq.journal.store import PAGE, Row, Store
from procq.journal.telling import has_any, newest, pages_of, start
from procq.journal.wanted import KINDS, Wanted, wanted
from procq.journal.writer import Journal
from procq.wire import EventView
from tests.unit.journal.making import count, record, sample, sizes

KIB = 1024
KEEPER = 2**63 - 1


def event(number: int, kind: str = "started", queue: str | None = "emails", at: float | None = None) -> EventView:
    worker = None if queue is None else f"{queue}.{number % 3 + 1}"
    return EventView(number, 1000.0 + number if at is None else at, kind, f"text {number}", queue, worker, 5, 1, "job")


def entry(number: int, kind: str = "started", generation: int | None = None) -> Entry:
    return Entry(event(number, kind), KEEPER, generation)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with closing(Store(path, Bounds())) as store:
        yield store


def test_what_is_written_is_read_as_it_was(store: Store, path: Path) -> None:
    bare = Entry(EventView(7, 1007.0, "changed", "somebody"))
    store.write([entry(1), record(1), entry(5), bare, sample(1)], 1000.0)
    assert events(path) == [event(1), event(5), bare.event]
    assert events(path, 1, 7) == [event(5)]
    assert events(path, 1, newest=True) == [bare.event, event(5)]
    assert store.page(0, 6, newest=False) == [event(1), event(5)]


def test_an_id_is_told_once(store: Store, path: Path) -> None:
    store.write([entry(1), entry(2)], 1000.0)
    store.write([entry(2, "exited"), entry(3)], 1000.0)
    assert events(path) == [event(1), event(2), event(3)]


def test_what_sqlite_does_not_take_is_made_to_fit(store: Store, path: Path) -> None:
    odd = replace(event(1), text="cannot start: b\udce4r", jobs=2**64 - 1, job="\ud800")
    store.write([Entry(odd), entry(2)], 1000.0)
    assert [(each.text, each.jobs, each.job) for each in events(path)] == [
        ("cannot start: b?r", 2**63 - 1, "?"),
        ("text 2", 5, "job"),
    ]


def test_what_is_known_of_before(store: Store) -> None:
    assert store.past(KEEPER) == Past()
    saved = Entry(EventView(8, 1008.0, "changed", "procq.yaml saved: + web"), KEEPER)
    rows = [entry(1), entry(2, "exited", 4), entry(5, "exited", 9), entry(6, "gave_up", 9), saved]
    store.write([*rows, Entry(EventView(9, 1009.0, "changed", "emails scaled to 3 by hand"), KEEPER)], 1000.0)
    ends: dict[tuple[str | None, str], int] = {("emails.3", "exited"): 9, ("emails.1", "gave_up"): 9}
    assert store.past(KEEPER) == Past(9, ends, 1008.0)
    assert store.past(1) == Past(9)
    assert store.past(0) == Past(9)


def test_the_first_manifest_has_been_in_force_since_the_first_event(store: Store) -> None:
    store.write([entry(3), entry(4)], 1000.0)
    assert store.past(KEEPER).saved == 1003.0
    with closing(sqlite3.connect(store._path)) as other:
        other.execute("DELETE FROM events WHERE n = 1")
        other.commit()
    # What happened first is not known any more.
    assert store.past(KEEPER).saved is None


def test_a_hundred_thousand_events_keep_the_bounds(path: Path) -> None:
    bounds, largest = Bounds(events=30_000, size=4096 * KIB, log=1024 * KIB), 0
    with closing(Store(path, bounds)) as store:
        for first in range(0, 100_000, 1_000):
            store.write([entry(n * 1000) for n in range(first, first + 1_000)], 1000.0)
            largest = max(largest, *sizes(path))
    assert largest <= bounds.size
    kept = count(path, "events")
    assert 10_000 < kept <= 30_000
    assert [each.id for each in events(path, newest=True)[:2]] == [99_999_000, 99_998_000]


def test_events_are_not_thrown_away_for_the_room_that_samples_take(path: Path) -> None:
    with closing(Store(path, Bounds(size=1024 * KIB))) as store:
        store.write([entry(n) for n in range(1, 501)], 1000.0)
        for first in range(0, 100_000, 1_000):
            store.write([sample(n) for n in range(first, first + 1_000)], 1000.0)
    assert count(path, "events") == 500
    assert path.stat().st_size <= 1024 * KIB


def test_age_is_bounded(path: Path) -> None:
    with closing(Store(path, Bounds(age=100.0))) as store:
        for second in range(1000, 1400, 10):
            store.write([Entry(event(second, at=second))], second)
    assert [each.id for each in events(path)] == list(range(1290, 1400, 10))


# --- the version before ----------------------------------------------------------------------------------------------


def of_version_1(path: Path) -> None:
    with closing(Store(path, Bounds())) as store:
        store.write([record(1), sample(1)], 1000.0)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE events")
        connection.execute("ALTER TABLE samples DROP COLUMN started")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()


def test_a_file_of_version_1_is_read(path: Path) -> None:
    of_version_1(path)
    assert events(path) == []
    assert last(path, "emails", 5) == [record(1)]


def test_a_file_of_version_1_is_gone_on_with(path: Path) -> None:
    of_version_1(path)
    for number in (1, 2):
        with closing(Store(path, Bounds())) as store:
            assert store.aside is None
            store.write([entry(number), record(number + 1)], 1000.0)
    assert events(path) == [event(1), event(2)]
    assert [each.before for each in last(path, "emails", 5)] == [3, 2, 1]


# --- the writer ------------------------------------------------------------------------------------------------------


def test_an_event_is_written_at_once_and_many_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    write = Store.write

    def counted(self: Store, batch: Sequence[Row], now: float) -> None:
        batches.append(len(batch))
        write(self, batch, now)

    monkeypatch.setattr(Store, "write", counted)

    async def story() -> None:
        journal = Journal(path, clock=lambda: 1000.0, gather=3600.0)
        assert await journal.past(KEEPER) == Past()
        journal.add(record(1))
        journal.event(entry(1))
        until = time.monotonic() + 20
        while len(events(path)) < 1:
            assert time.monotonic() < until
            await asyncio.sleep(0.001)
        for number in range(2, 3_000):
            journal.event(entry(number))
            await asyncio.sleep(0)
        assert journal.page(0, 5) == [event(1), *journal.page(1, 5)]
        await journal.close(60.0)
        assert journal.lost == 0

    asyncio.run(story())
    assert len(events(path, 2_000)) == 999
    assert sum(batches) == 3_000
    assert len(batches) < 60


def test_a_journal_that_does_not_open_knows_nothing(tmp_path: Path) -> None:
    told: list[str] = []

    async def story() -> None:
        journal = Journal(tmp_path / "none" / "journal.sqlite", tell=told.append)
        assert await journal.past(KEEPER) == Past()
        with pytest.raises(JournalUnreadable):
            await asyncio.to_thread(journal.page, 0, 10)
        await journal.close()

    asyncio.run(story())
    assert len(told) == 1


def test_a_disk_that_does_not_answer_is_not_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = threading.Event()
    answered: list[bool] = []

    def hangs(self: Store, keeper: str) -> Past:
        answered.append(given_up.wait(30.0))
        return Past()

    monkeypatch.setattr(Store, "past", hangs)

    async def story() -> None:
        journal = Journal(path)
        assert await journal.past(KEEPER, timeout=0.05) == Past()
        await journal.close(0.0)

    asyncio.run(story())
    assert not answered
    given_up.set()


# --- choosing --------------------------------------------------------------------------------------------------------


def test_what_is_wanted() -> None:
    mail, news = event(1), event(2, "exited", "news")
    own = EventView(3, 1003.0, "changed", "somebody")
    assert Wanted().among([mail, news, own]) == [mail, news, own]
    assert wanted(["emails"]).among([mail, news, own]) == [mail]
    assert wanted(["news.3", "em*"]).among([mail, news, own]) == [mail, news]
    assert wanted(["news.1"]).among([news]) == []
    assert wanted(["*.3"]).among([mail, news, own]) == [news]
    assert wanted(["*"]).among([mail, news, own]) == [mail, news]
    assert wanted([], ["started, changed"]).among([mail, news, own]) == [mail, own]
    assert wanted([], ["changed", "crashed"]).among([mail, news, own]) == [news, own]
    assert wanted(since=1002.0, until=1002.5).among([mail, news, own]) == [news]
    with pytest.raises(UsageError, match="no kind of event") as wrong:
        wanted([], ["exitd"])
    assert wrong.value.hint == 'Did you mean "exited"?'


def test_every_kind_that_is_told_can_be_asked_for() -> None:
    import re

    import procq

    package = Path(procq.__file__).parent
    text = (package / "describe.py").read_text()
    told = set(re.findall(r'Description\("(\w+)"', text)) | set(re.findall(r'"(\w+)" if [^\n]* else "\w+"\n', text))
    for file in package.rglob("*.py"):
        told |= set(re.findall(r'\bnote\(\s*"(\w+)"', file.read_text()))
    assert {"started", "trouble", "intent_lost", "reload_failed"} <= told
    assert told <= set(KINDS)


@pytest.mark.parametrize("number", [0, 1, 7, PAGE, PAGE + 1, None])
def test_the_newest_of_those_that_are_wanted(store: Store, path: Path, number: int | None) -> None:
    rows = [entry(n * 10, "exited" if n % 5 == 0 else "started") for n in range(1, 4 * PAGE)]
    for first in range(0, len(rows), 1000):
        store.write(rows[first : first + 1000], 1000.0)
    exited = [each.event for each in rows if each.event.kind == "exited"]
    choice = wanted([], ["exited"])
    found = [event for batch in newest(pages_of(path), choice, number, 10**12) for event in batch]
    assert found == (exited if number is None else exited[len(exited) - min(number, len(exited)) :])
    # Where it has been looked long enough it is not looked any further.
    recent = wanted([], ["exited"], since=1000.0 + 10 * 3 * PAGE)
    assert start(pages_of(path), recent, None, 10**12) > 10 * PAGE
    assert has_any(pages_of(path), choice, 10**12)
    assert not has_any(pages_of(path), choice, 50)
    assert not has_any(pages_of(path), wanted(["reports"]), 10**12)
