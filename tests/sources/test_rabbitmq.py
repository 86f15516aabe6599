"""RabbitMQ with queues that are declared here."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pika
import pytest

from procq.scaling.place import parse
from procq.scaling.reading import Reading
from procq.scaling.sources import Kind, SourceError, connect
from tests.servers.rabbitmq import rabbitmq_server
from tests.sources.lab import read, reads

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with rabbitmq_server(tmp_path_factory.mktemp("rabbitmq") / "of-all") as url:
        yield url


@pytest.fixture
def channel(url: str) -> Iterator[Any]:
    connection = pika.BlockingConnection(pika.URLParameters(url.removesuffix("/")))
    yield connection.channel()
    connection.close()


def cut(connection: Any) -> None:
    """As when the server, or something in between, has closed the connection."""
    with socket.socket(fileno=os.dup(connection._connection._impl._transport._sock.fileno())) as below:
        below.shutdown(socket.SHUT_RDWR)


def test_messages_that_are_ready(url: str, channel: Any) -> None:
    channel.queue_declare("work")
    for _ in range(3):
        channel.basic_publish("", "work", b"")
    reads(f"rabbitmq+{url}", Reading(3))
    channel.queue_declare("a/b c", durable=True)
    assert read(f"rabbitmq+{url}?queue=a/b%20c") == Reading(0)
    assert read(f"rabbitmq+{url.removesuffix('//')}") == Reading(3), "no path is the first virtual host too"


def test_one_connection_serves_many(url: str, channel: Any) -> None:
    channel.queue_declare("there")
    channel.basic_publish("", "there", b"")
    channel.queue_declare("mine", exclusive=True)
    reads(f"rabbitmq+{url}?queue=there", Reading(1))
    places = [parse(f"rabbitmq+{url}?queue={name}", "work") for name in ("there", "missing", "mine", "there")]
    connection = connect(places[0])
    for _ in range(3):
        first, second, third, last = connection.read(places, 0.0)
        assert (first, second, last) == (Reading(1), Reading(0), Reading(1))
        assert isinstance(third, SourceError)
        assert "queue=mine" in str(third)
    cut(connection)
    assert connection.read(places, 0.0)[0] == Reading(1), "it connects again"
    connection.close()
    assert connection.read(places, 0.0)[0] == Reading(1), "it may be read after it was closed"
    connection.close()


def test_who_may_not(url: str) -> None:
    wrong = url.replace("guest:guest", f"guest:{quote('ge#heim', safe='')}")
    elsewhere = url.removesuffix("/") + "nowhere"
    for other, kind in ((wrong, Kind.AUTH), (elsewhere, Kind.AUTH)):
        with pytest.raises(SourceError) as caught:
            read(f"rabbitmq+{other}")
        assert caught.value.kind is kind, caught.value
        assert "heim" not in str(caught.value)
