"""Directories, commands, pages of HTTP and Prometheus."""

from __future__ import annotations

import json
import os
import time
from base64 import b64encode
from pathlib import Path

import pytest

from procq.scaling.place import parse
from procq.scaling.reading import Reading
from procq.scaling.sources import Kind, SourceError, connect
from tests.process.support.waiting import until
from tests.servers.listening import Pages, pages
from tests.sources.lab import counts, read


def fails(url: str, timeout: float = 3.0) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(url, timeout=timeout)
    return caught.value


# --- directories ----------------------------------------------------------------------------------------------------


def test_files(tmp_path: Path) -> None:
    inbox = tmp_path / "in box"
    inbox.mkdir()
    url = f"file://{tmp_path}/in%20box"
    assert read(url) == Reading(0)
    for name in ("a.csv", "b.csv", "c.txt", ".hidden.csv"):
        (inbox / name).touch()
    (inbox / "below").mkdir()
    (inbox / "nowhere").symlink_to(tmp_path / "nothing")
    os.utime(inbox / "b.csv", (0, time.time() - 90))
    assert counts(read(url)) == (3, None, None)
    assert read(url).oldest == pytest.approx(90, abs=5)
    assert counts(read(f"{url}?pattern=*.csv")) == (2, None, None)
    assert fails(f"file://{tmp_path}/nothing").kind is Kind.REFUSED
    assert fails(f"file://{inbox}/a.csv".replace(" ", "%20")).kind is Kind.GARBAGE


# --- commands -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("echo 17", Reading(17)),
        ("echo 1e3", Reading(1000)),
        ("""echo '{"waiting": 3, "running": 2, "delayed": 1, "oldest": 1.5}'""", Reading(3, 2, 1, 1.5)),
        ("""echo '{"waiting": "4", "oldest": null, "more": []}'""", Reading(4)),
        ("""test "$PROCQ_QUEUE" = work && echo 1""", Reading(1)),
        ("echo talk >&2; echo 5", Reading(5)),
        ("sleep 100 & echo 6", Reading(6)),
    ],
)
def test_commands(command: str, expected: Reading) -> None:
    assert read(f"exec:{command}") == expected


@pytest.mark.parametrize(
    ("command", "kind", "says"),
    [
        ("echo none", Kind.GARBAGE, "'none' was found, where a number belongs"),
        ("true", Kind.GARBAGE, "''"),
        ("echo true", Kind.GARBAGE, "True"),
        ("echo '[1]'", Kind.GARBAGE, "[1]"),
        ("""echo '{"waiting": 1, "running": "many"}'""", Kind.GARBAGE, "\"running\" is 'many'"),
        ("echo no database >&2; exit 3", Kind.OTHER, "exit status 3) and says no database"),
        ("kill -9 $$", Kind.OTHER, "SIGKILL"),
        ("/nothing/there", Kind.REFUSED, "exit status 127"),
    ],
)
def test_commands_that_say_nothing(command: str, kind: Kind, says: str) -> None:
    error = fails(f"exec:{command}")
    assert error.kind is kind
    assert says in str(error)
    # What it was given may hold a secret.
    assert f"exec:{command.split(maxsplit=1)[0]}" in str(error)


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("end", ["wait", "exec yes", "echo 1; exit 0"])
def test_a_command_leaves_nobody_behind(tmp_path: Path, end: str) -> None:
    pids = tmp_path / "pids"
    command = f"exec:trap '' TERM; (trap '' TERM; sleep 1000) & echo $! >> {pids}; echo $$ >> {pids}; {end}"
    began = time.monotonic()
    if "exit" in end:
        assert read(command) == Reading(1)
    else:
        assert fails(command, timeout=0.5).kind is Kind.TIMEOUT
    assert time.monotonic() - began < 10
    for pid in map(int, pids.read_text().split()):
        until(lambda pid=pid: not alive(pid), "an end of everybody")  # type: ignore[misc]


# --- HTTP -----------------------------------------------------------------------------------------------------------

STATUS = {"jobs": {"a/b~": [{"waiting": 3, "oldest": 2}, 9]}, "count": 7}
PAGES: Pages = {
    "/status": (200, json.dumps(STATUS)),
    "/number?queue=7": (200, " 12\n"),
    "/busy": (503, "later"),
    "/old": (301, "http://elsewhere/"),
    "/text": (200, "<html>"),
    "/large": (200, "1" * ((1 << 20) + 1)),
}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/status?pointer=/count", Reading(7)),
        ("/status?pointer=/jobs/a~1b~0/0", Reading(3, oldest=2)),
        ("/status?pointer=/jobs/a~1b~0/1", Reading(9)),
        ("/number?queue=7", Reading(12)),
    ],
)
def test_pages(target: str, expected: Reading) -> None:
    with pages(PAGES) as (port, _):
        assert read(f"http://127.0.0.1:{port}{target}") == expected


@pytest.mark.parametrize(
    ("target", "kind", "says"),
    [
        ("/status", Kind.GARBAGE, "where a number belongs"),
        ("/status?pointer=/jobs/c", Kind.GARBAGE, 'nothing is called "c" in the answer; there are a/b~'),
        ("/none", Kind.OTHER, "answers 404"),
        ("/busy", Kind.OTHER, "answers 503"),
        ("/old", Kind.OTHER, "http://elsewhere/"),
        ("/text", Kind.GARBAGE, "has not answered in JSON"),
        ("/large", Kind.GARBAGE, "more than 1 MiB"),
    ],
)
def test_pages_that_say_nothing(target: str, kind: Kind, says: str) -> None:
    with pages(PAGES) as (port, _):
        error = fails(f"http://127.0.0.1:{port}{target}")
    assert error.kind is kind
    assert says in str(error)


def test_a_page_is_fetched_once_for_all_that_is_on_it() -> None:
    with pages(PAGES) as (port, asked):
        places = [
            parse(f"http://127.0.0.1:{port}/status?pointer={each}", "work")
            for each in ("/count", "/x", "/jobs/a~1b~0/1")
        ]
        found = connect(places[0]).read(places, 0.0)
        assert asked == ["/status"]
    assert (found[0], found[2]) == (Reading(7), Reading(9))
    assert isinstance(found[1], SourceError)


def test_passwords_of_pages() -> None:
    expected = f"Basic {b64encode(b'me:ge:h#m').decode()}"
    with pages({"/": (200, "3")}, expected) as (port, _):
        assert read(f"http://me:ge:h#m@127.0.0.1:{port}") == Reading(3)
        error = fails(f"http://me:falsch@127.0.0.1:{port}/")
        assert error.kind is Kind.AUTH
        assert "falsch" not in str(error)


# --- Prometheus -----------------------------------------------------------------------------------------------------


def answer(kind: str, result: object) -> tuple[int, str]:
    return 200, json.dumps({"status": "success", "data": {"resultType": kind, "result": result}})


VALUES: Pages = {
    "/api/v1/query?query=one": answer("vector", [{"metric": {}, "value": [1.5, "17"]}]),
    "/behind/api/v1/query?query=sum%28a%7Bb%3D%22%26%22%7D%29%20%2B%201": answer("vector", [{"value": [1.5, "2.5"]}]),
    "/api/v1/query?query=scalar": answer("scalar", [1.5, "3"]),
    "/api/v1/query?query=none": answer("vector", []),
    "/api/v1/query?query=two": answer("vector", [{"value": [1, "1"]}, {"value": [1, "2"]}]),
    "/api/v1/query?query=wrong": (400, '{"status": "error", "error": "parse error at char 3"}'),
    "/api/v1/query?query=other": (200, "[]"),
}


def test_prometheus() -> None:
    with pages(VALUES) as (port, _):
        at = f"prometheus://127.0.0.1:{port}"
        assert read(f"{at}/?query=one") == Reading(17)
        assert read(f"{at}?query=scalar") == Reading(3)
        assert read(f'{at}/behind/?query=sum(a{{b="%26"}}) + 1') == Reading(2.5)
        for query, kind, says in (
            ("none", Kind.GARBAGE, "has no result"),
            ("two", Kind.GARBAGE, "write sum(…)"),
            ("wrong", Kind.OTHER, "parse error at char 3"),
            ("other", Kind.GARBAGE, "is not Prometheus"),
            ("missing", Kind.OTHER, "answers 404"),
        ):
            error = fails(f"{at}?query={query}")
            assert error.kind is kind
            assert says in str(error)
