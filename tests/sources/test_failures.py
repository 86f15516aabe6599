"""Servers that are dead, slow, locked, or something else: what is said of them, and that nobody else waits."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from procq.scaling.place import parse
from procq.scaling.reading import Reading
from procq.scaling.sources import Kind, SourceError, connect
from procq.scaling.sources.pool import Pool
from tests.servers.listening import babbling, dripping, silent, unused
from tests.servers.redis import redis_server
from tests.sources.lab import read

KINDS = [
    "rq://:geheim@127.0.0.1:{}/0",
    "celery+amqp://u:geheim@127.0.0.1:{}/",
    "procrastinate://u:geheim@127.0.0.1:{}/d?sslmode=disable",
    "sql+postgresql://u:geheim@127.0.0.1:{}/d?sslmode=disable&query=SELECT 1",
    "http://u:geheim@127.0.0.1:{}/x",
    "prometheus://127.0.0.1:{}/?query=up",
]
SHORT = 0.5
"""Seconds that a server has to answer."""


def refused() -> Iterator[int]:
    yield unused()


def garbage() -> Iterator[int]:
    with babbling(b"220 mail.example.org ESMTP\r\n" * 4) as port:
        yield port


def timeout() -> Iterator[int]:
    with silent() as port:
        yield port


@pytest.mark.parametrize("url", KINDS, ids=lambda url: str(url).partition(":")[0])
@pytest.mark.parametrize(
    ("server", "kind"), [(refused, Kind.REFUSED), (timeout, Kind.TIMEOUT), (garbage, Kind.GARBAGE)]
)
def test_what_is_said(url: str, server: Callable[[], Iterator[int]], kind: Kind) -> None:
    for port in server():
        began = time.monotonic()
        with pytest.raises(SourceError) as caught:
            read(url.format(port), timeout=SHORT)
        assert caught.value.kind is kind, caught.value
        assert time.monotonic() - began < SHORT + 5
        said = str(caught.value)
        assert f"127.0.0.1:{port}" in said
        assert "geheim" not in said
        assert "queue=" not in said


def test_hosts_that_do_not_exist() -> None:
    for url in KINDS:
        with pytest.raises(SourceError) as caught:
            read(url.replace("127.0.0.1:{}", "nobody.invalid"), timeout=SHORT)
        assert caught.value.kind in (Kind.REFUSED, Kind.TIMEOUT), caught.value


def test_sockets_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        read(f"rq+unix://{tmp_path}/redis.sock")
    assert caught.value.kind is Kind.REFUSED


@pytest.mark.process
def test_a_dead_server_delays_nobody(tmp_path: Path) -> None:
    async def run(ports: list[int], path: Path) -> None:
        pool = Pool(deadline=4.0, connect=lambda place: connect(place, 2.0))
        dead = [parse(url.format(port), "dead") for url in KINDS for port in ports]
        alive = parse(f"rq+unix://{path}", "work")
        waiting = [asyncio.create_task(pool.read(place)) for place in dead]
        await asyncio.sleep(0)
        began = time.monotonic()
        for _ in range(20):
            assert await pool.read(alive) == Reading(0, 0, 0)
        assert time.monotonic() - began < 1.9, "it has waited for another one"
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, SourceError) for result in results)
        await pool.aclose()

    with ExitStack() as stack:
        path = stack.enter_context(redis_server(tmp_path / "redis"))
        ports = [stack.enter_context(silent()), unused(), stack.enter_context(babbling(b"hello\r\n"))]
        asyncio.run(run(ports, path))


@pytest.mark.parametrize(
    ("url", "library", "extra"),
    [("rq://h", "redis", "redis"), ("rabbitmq://h", "pika", "amqp"), ("procrastinate://h", "psycopg", "postgres")],
)
def test_a_library_that_is_missing(url: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("procq.scaling.sources.", f"{library}."))]:
        if not name.endswith((".port", ".jobs", ".queries")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SourceError, match=rf"pip install 'procq\[{extra}\]'") as caught:
        connect(parse(url, "work"))
    assert caught.value.kind is Kind.MISSING_LIBRARY


def test_a_page_that_comes_drop_by_drop() -> None:
    began = time.monotonic()
    with dripping(b"HTTP/1.1 200 OK\r\n\r\n", b" ") as port, pytest.raises(SourceError) as caught:
        read(f"http://127.0.0.1:{port}/", timeout=SHORT)
    assert caught.value.kind is Kind.TIMEOUT
    assert time.monotonic() - began < SHORT + 5


def test_a_server_that_stops_in_the_middle_of_an_answer() -> None:
    with babbling(b"*2\r\n$10\r\n123") as port, pytest.raises(SourceError) as caught:
        read(f"rq://127.0.0.1:{port}", timeout=SHORT)
    assert caught.value.kind in (Kind.REFUSED, Kind.GARBAGE)


def test_a_listener_whose_backlog_is_full() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        others = [socket.socket() for _ in range(4)]
        for each in others:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        for url in KINDS:
            with pytest.raises(SourceError) as caught:
                read(url.format(port), timeout=SHORT)
            assert caught.value.kind is Kind.TIMEOUT, caught.value
        for each in others:
            each.close()
