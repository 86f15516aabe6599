"""What servers of every kind are taken for: real sockets."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from procq.model import HttpCheck, TcpCheck, WorkerId
from procq.monitor.answers import Answer, ask, ask_port, ask_url

EMAILS_7 = WorkerId("emails", 7)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def says(data: bytes, *, close: bool = True, requests: list[bytes] | None = None) -> Serve:
    """A server that reads the head of a request, then writes `data`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if requests is not None:
            requests.append(head)
        with suppress(ConnectionError):
            writer.write(data)
            await writer.drain()
            if not close:
                await reader.read()

    return serve


def asked(
    serve: Serve, path: str = "/", timeout: float = 10.0, *, scheme: str = "http", tls: ssl.SSLContext | None = None
) -> Answer:
    """What `serve` answers to the path; the port in the text is written P."""

    handlers: set[asyncio.Task[None] | None] = set()

    async def serve_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())
        with suppress(ConnectionError, ssl.SSLError):
            await serve(reader, writer)
            writer.close()
            await writer.wait_closed()

    async def main() -> Answer:
        async with await asyncio.start_server(serve_and_close, "127.0.0.1", 0, ssl=tls) as server:
            port = server.sockets[0].getsockname()[1]
            found = await ask_url(f"{scheme}://127.0.0.1:{port}{path}", timeout)
            await asyncio.gather(*(handler for handler in handlers if handler is not None))
            return Answer(found.good, found.text.replace(str(port), "P"))

    return asyncio.run(main())


def http(status: str, *headers: str, body: str = "") -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", body)
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize(
    ("status", "good"),
    [
        ("200 OK", True),
        ("204 No Content", True),
        ("399 Odd", True),
        ("400 Bad", False),
        ("404 No", False),
        ("503 Busy", False),
    ],
)
def test_the_status_is_the_answer(status: str, good: bool) -> None:
    assert asked(says(http(status)), "/healthz") == Answer(good, f"http {status[:3]} from http://127.0.0.1:P/healthz")


def test_redirects_are_not_followed() -> None:
    requests: list[bytes] = []
    found = asked(says(http("302 Found", "Location: http://127.0.0.1:1/"), requests=requests))
    assert found == Answer(True, "http 302 from http://127.0.0.1:P/")
    assert len(requests) == 1


def test_the_request_is_what_a_server_expects() -> None:
    requests: list[bytes] = []
    asked(says(http("200 OK"), requests=requests), "/a%20b?c={d}&e")
    head = requests[0].decode().lower()
    assert head.startswith("get /a%20b?c={d}&e http/1.1\r\nhost: 127.0.0.1:")
    assert "connection: close" in head


def test_an_answer_announced_first_counts_when_it_comes() -> None:
    assert asked(says(b"HTTP/1.1 103 Early Hints\r\n\r\n" + http("500 No"))).text == "http 500 from http://127.0.0.1:P/"


def test_a_body_without_end_is_left() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()

    assert asked(serve).good is True


def test_a_body_that_does_not_come_decides_nothing() -> None:
    assert asked(says(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", close=False)).good is True


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "http://127.0.0.1:P/: the connection was closed without an answer"),
        (b"+PONG\r\n", "what answers at http://127.0.0.1:P/ does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 40_000, "what answers at http://127.0.0.1:P/ does not speak HTTP"),
        (b"HTTP/1.1 200", "what answers at http://127.0.0.1:P/ does not speak HTTP"),
    ],
)
def test_what_is_no_answer_is_a_bad_one(data: bytes, text: str) -> None:
    assert asked(says(data)) == Answer(False, text)


def test_no_answer_in_time_is_a_bad_one() -> None:
    found = asked(says(b"HTTP/1.1 200 OK\r\n", close=False), timeout=0.2)
    assert found == Answer(False, "no answer within 200ms from http://127.0.0.1:P/")


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        url = f"http://localhost:{port}/"
        assert asyncio.run(ask_url(url, 5.0)) == Answer(False, f"{url}: connection refused")
        assert asyncio.run(ask_port(port, 5.0)) == Answer(False, f"port {port}: connection refused")
        taken.listen()
        assert asyncio.run(ask(TcpCheck(port), EMAILS_7, 5.0)) == Answer(True, f"port {port} accepts connections")


def test_names_that_lead_nowhere_are_bad_answers() -> None:
    for host in ("no-such-host.invalid", "a" * 300, "xn--a"):
        assert asyncio.run(ask_url(f"http://{host}/", 5.0)).good is False


def test_slot_and_queue_are_filled_in() -> None:
    requests: list[bytes] = []

    async def main() -> Answer:
        done = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await says(http("200 OK"), requests=requests)(reader, writer)
            writer.close()
            await writer.wait_closed()
            done.set()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            found = await ask(HttpCheck(f"http://127.0.0.1:{port}/{{queue}}/{{slot}}"), EMAILS_7, 5.0)
            await done.wait()
            return found

    assert asyncio.run(main()).good
    assert requests[0].startswith(b"GET /emails/7 ")


def test_certificates_are_checked(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    pair = [str(tmp_path / name) for name in ("cert.pem", "key.pem")]
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run(
        [*make, "-subj", "/CN=127.0.0.1", "-out", pair[0], "-keyout", pair[1]], check=True, capture_output=True
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*pair)
    found = asked(says(http("200 OK")), scheme="https", tls=tls)
    assert found == Answer(False, "https://127.0.0.1:P/: self-signed certificate")
