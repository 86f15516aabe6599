"""SQLite and PostgreSQL: queries of people, and that these can neither write nor take forever."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from procq.scaling.place import parse
from procq.scaling.reading import Reading
from procq.scaling.sources import Kind, SourceError, connect
from tests.process.support.waiting import until
from tests.servers.postgres import postgres
from tests.sources.lab import read

FOREVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
SHORT = 0.3


def fails(url: str, timeout: float = 3.0) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(url, timeout=timeout)
    return caught.value


# --- SQLite ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "jobs of #1.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE jobs (state TEXT)")
        connection.executemany("INSERT INTO jobs VALUES (?)", [("todo",)] * 3 + [("doing",)])
    return path


def lite(file: Path, query: str) -> str:
    return f"sql+sqlite://{quote(str(file))}?query={query}"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT count(*) FROM jobs WHERE state = 'todo'", Reading(3)),
        ("SELECT 5, 4, 3, 2.5", Reading(5, 4, 3, 2.5)),
        ("SELECT 9 AS oldest, 1 AS Waiting, NULL AS running", Reading(1, oldest=9)),
        ("SELECT sum(state = 'todo') AS waiting, sum(state = 'doing') AS running FROM jobs", Reading(3, 1)),
        ("SELECT '7' -- + %25 %26 #", Reading(7)),
    ],
)
def test_sqlite(file: Path, query: str, expected: Reading) -> None:
    assert read(lite(file, query)) == expected


@pytest.mark.parametrize(
    ("query", "kind", "says"),
    [
        ("SELECT state FROM jobs", Kind.GARBAGE, "more than one row"),
        ("SELECT 1 WHERE 0", Kind.GARBAGE, "no row"),
        ("SELECT NULL", Kind.GARBAGE, "where a number belongs"),
        ("SELECT 'many'", Kind.GARBAGE, "'many'"),
        ("SELECT * FROM nowhere", Kind.GARBAGE, "no such table"),
        ("SELEKT 1", Kind.OTHER, "syntax error"),
        ("DELETE FROM jobs", Kind.OTHER, "must not write"),
        ("SELECT 1; DELETE FROM jobs", Kind.OTHER, "one statement"),
        ("PRAGMA query_only = 0", Kind.GARBAGE, "no row"),
        (FOREVER, Kind.TIMEOUT, "longer than 0.3 s"),
    ],
)
def test_sqlite_that_says_nothing(file: Path, query: str, kind: Kind, says: str) -> None:
    before = file.read_bytes()
    error = fails(lite(file, query), SHORT)
    assert error.kind is kind, error
    assert says in str(error)
    assert file.read_bytes() == before


def test_files_that_are_no_databases(tmp_path: Path) -> None:
    missing = tmp_path / "none.db"
    assert fails(lite(missing, "SELECT 1")).kind is Kind.REFUSED
    assert not missing.exists(), "reading makes no file"
    (tmp_path / "text.db").write_text("something else entirely, and quite long" * 100)
    assert fails(lite(tmp_path / "text.db", "SELECT count(*) FROM jobs")).kind is Kind.GARBAGE


def test_a_file_that_others_write(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO jobs VALUES ('todo')")
        assert read(lite(file, "SELECT count(*) FROM jobs")) == Reading(4)
        writer.execute("COMMIT")
        assert read(lite(file, "SELECT count(*) FROM jobs")) == Reading(5)
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = DELETE")
        writer.execute("BEGIN EXCLUSIVE")
        assert fails(lite(file, "SELECT count(*) FROM jobs"), SHORT).kind is Kind.TIMEOUT


def test_a_file_that_may_only_be_read(file: Path) -> None:
    file.chmod(stat.S_IRUSR)
    file.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert read(lite(file, "SELECT count(*) FROM jobs")) == Reading(4)
        assert os.listdir(file.parent) == [file.name]
    finally:
        file.parent.chmod(stat.S_IRWXU)


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres() as found:
        with psycopg.connect(found) as connection:
            connection.execute("CREATE TABLE jobs (state text)")
            connection.execute("INSERT INTO jobs SELECT 'todo' FROM generate_series(1, 3)")
        yield found


def ask(database: str, query: str) -> str:
    return f"sql+{database}&query={query}"


@pytest.mark.process
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT count(*) FROM jobs WHERE state = 'todo'", Reading(3)),
        ("SELECT 5, 4::bigint, 3.0::numeric, 2.5::real", Reading(5, 4, 3, 2.5)),
        ("SELECT 9 AS oldest, 1 AS waiting, NULL AS running", Reading(1, oldest=9)),
        ("SELECT extract(epoch FROM interval '2 s') AS oldest, 1 AS waiting", Reading(1, oldest=2)),
        ("SELECT count(*) FROM jobs WHERE state LIKE '%25do'", Reading(3)),
    ],
)
def test_postgres(database: str, query: str, expected: Reading) -> None:
    assert read(ask(database, query)) == expected


@pytest.mark.process
@pytest.mark.parametrize(
    ("query", "kind", "says"),
    [
        ("SELECT state FROM jobs", Kind.GARBAGE, "more than one row"),
        ("SELECT 1 WHERE false", Kind.GARBAGE, "no row"),
        ("SELECT 'many'", Kind.GARBAGE, "'many'"),
        ("SELECT * FROM nothing", Kind.OTHER, '"nothing" does not exist'),
        ("SELEKT 1", Kind.OTHER, "syntax error"),
        ("DELETE FROM jobs RETURNING 1", Kind.OTHER, "must not write"),
        ("COMMIT; DELETE FROM jobs", Kind.OTHER, "multiple commands"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", Kind.GARBAGE, "no row"),
        ("COMMIT", Kind.GARBAGE, "no row"),
        ("SELECT pg_sleep(100)", Kind.TIMEOUT, "longer than 0.3 s"),
    ],
)
def test_postgres_that_says_nothing(database: str, query: str, kind: Kind, says: str) -> None:
    error = fails(ask(database, query), SHORT)
    assert error.kind is kind, error
    assert says in str(error)
    assert read(ask(database, "SELECT count(*) FROM jobs")) == Reading(3)


@pytest.mark.process
def test_one_connection_serves_many_and_begins_anew(database: str) -> None:
    queries = ["SELECT 1", "SELECT * FROM nothing", "COMMIT", "SELECT 2"]
    places = [parse(ask(database, query), "work") for query in queries]
    connection = connect(places[0])
    for _ in range(3):
        found = connection.read(places, 0.0)
        assert (found[0], found[3]) == (Reading(1), Reading(2))
        assert [type(each) for each in found[1:3]] == [SourceError] * 2
    with psycopg.connect(database, autocommit=True) as other:
        state = "SELECT state, pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'procq'"
        assert other.execute(state).fetchall() == [("idle", True)]
        until(lambda: not other.execute(state).fetchall(), "an end of it")
    assert connection.read(places, 0.0)[0] == Reading(1), "it connects again"
    connection.close()


@pytest.mark.process
def test_who_may_not(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as other:
        other.execute("CREATE ROLE guest LOGIN")
    guest = database.replace("user=postgres", "user=guest")
    assert fails(ask(guest, "SELECT count(*) FROM jobs")).kind is Kind.AUTH
    nobody = database.replace("user=postgres", "user=nobody")
    assert fails(ask(nobody, "SELECT 1")).kind is Kind.AUTH
    assert fails(f"procrastinate+{database}").kind is Kind.GARBAGE


# --- Laravel, whose rows are written by hand here -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.process)])
def test_laravel(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    now = int(time.time())
    rows = [
        *[
            ("work", None, now - 60),
            ("work", None, now - 5),
            ("work", now - 10, now - 70),
            ("work", now - 500, now - 900),
        ],
        *[("work", None, now + 500), ("other", None, now - 5), ("later", None, now + 400)],
    ]
    table = "CREATE TABLE laravel_jobs (queue text, reserved_at integer, available_at integer)"
    insert = "INSERT INTO laravel_jobs VALUES (%s, %s, %s)"
    if kind == "sqlite":
        url = f"laravel+sqlite://{tmp_path}/db"
        with closing(sqlite3.connect(tmp_path / "db")) as lite, lite:
            lite.execute(table)
            lite.executemany(insert.replace("%s", "?"), rows)
    else:
        database = request.getfixturevalue("database")
        url = f"laravel+{database}"
        with psycopg.connect(database) as connection:
            connection.execute(table)
            connection.cursor().executemany(insert, rows)
    table_at = f"{url}{'&' if '?' in url else '?'}table=laravel_jobs"
    found = read(table_at)
    assert (found.waiting, found.running, found.delayed) == (3, 1, 1)
    assert found.oldest == pytest.approx(900, abs=5)
    assert read(f"{table_at}&retry_after=600").running == 2
    soon = read(table_at, within=600)
    assert (soon.waiting, soon.delayed, soon.soon) == (4, 0, 1)
    # What will be due has not waited for less than nothing.
    assert read(table_at, "later", within=600) == Reading(1, 0, 0, soon=1)
    assert read(table_at, "empty") == Reading(0, 0, 0)
    assert fails(f'{table_at}s"; DROP').kind is Kind.OTHER
