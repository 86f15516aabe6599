"""/metrics on a TCP port, where the variables of OpenTelemetry ask for it.

Nothing else is answered there: it is a server of its own, which has no other routes. One request a connection, few
connections at a time, a bound for the head and for the time of each.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import h11

from procq.telemetry.exposition import CONTENT_TYPE, render
from procq.telemetry.measures import Family

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 9464
PATIENCE: Final = 10.0
"""Seconds that a connection has, from its beginning to the last byte of the answer."""
AGAIN_AFTER: Final = 10.0
"""Seconds between further attempts where the port is taken."""
SOON: Final = 0.5
"""Seconds until the second attempt: the control plane before this one may be about to leave."""
_TOLD_AT: Final = 2
_CONNECTIONS: Final = 16
_HEAD_BYTES: Final = 8 << 10
_LARGEST_PORT: Final = 65_535

Measures = Callable[[], Awaitable[Sequence[Family]]]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        return _is_local(self.host)


def wanted(environ: Mapping[str, str]) -> Address | None:
    """Where metrics are to be served; None where they are not. Raises ValueError for what is no port."""
    exporters = {each.strip().lower() for each in environ.get("OTEL_METRICS_EXPORTER", "").split(",")}
    if "prometheus" not in exporters or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    port = environ.get("OTEL_EXPORTER_PROMETHEUS_PORT", "").strip() or str(DEFAULT_PORT)
    if not port.isascii() or not port.isdecimal() or not 0 < int(port) <= _LARGEST_PORT:
        raise ValueError(f'OTEL_EXPORTER_PROMETHEUS_PORT is "{port}", and a port is 1 to {_LARGEST_PORT}')
    return Address(environ.get("OTEL_EXPORTER_PROMETHEUS_HOST", "").strip() or DEFAULT_HOST, int(port))


async def serve(environ: Mapping[str, str], measures: Measures, tell: Tell) -> None:
    """Serves for as long as it is not cancelled; returns where nobody asks for it. `tell` hears of trouble, once."""
    try:
        address = wanted(environ)
    except ValueError as error:
        tell(f"metrics are not served: {error}")
        return
    if address is not None:
        await serve_at(address, measures, tell)


async def serve_at(address: Address, measures: Measures, tell: Tell) -> None:
    """Serves there for as long as it is not cancelled; returns where there is no such place.

    `tell` hears of trouble, once.
    """
    failures = 0
    while True:
        try:
            server = await MetricsServer(address, measures, tell).listen()
        except OSError as error:
            failures += 1
            if failures == _TOLD_AT:
                why = error.strerror or error
                tell(f"metrics are not served: cannot listen on {address}: {why}; tried again every {AGAIN_AFTER:g} s")
            await asyncio.sleep(AGAIN_AFTER if failures >= _TOLD_AT else SOON)
            continue
        except ValueError:
            # Nobody can be asked for it: a label that is empty or too long, or a character that no name has.
            tell(f"metrics are not served: {address.host!r} is no name and no address of a host")
            return
        async with server:
            await server.serve_forever()


class MetricsServer:
    """Answers GET /metrics, and everything else with an error."""

    def __init__(self, address: Address, measures: Measures, tell: Tell) -> None:
        self._address = address
        self._measures = measures
        self._tell = tell
        self._connections = 0
        self._broken = False

    async def listen(self) -> asyncio.Server:
        """Begins. Raises OSError where the address cannot be had, ValueError where it is none."""
        host, port = self._address.host, self._address.port
        return await asyncio.start_server(self._connected, host, port, limit=_HEAD_BYTES, backlog=_CONNECTIONS)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= _CONNECTIONS:
            writer.transport.abort()
            return
        self._connections += 1
        try:
            async with asyncio.timeout(PATIENCE):
                await self._converse(reader, writer)
        except (TimeoutError, OSError):
            # Whoever does not speak HTTP, goes away, or takes no answer is owed none.
            writer.transport.abort()
        finally:
            self._connections -= 1
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await _request(reader)
        except h11.RemoteProtocolError as error:
            await _send(writer, HTTPStatus(error.error_status_hint))
            return
        if asked is None:
            return
        status = refusal(asked, self._address)
        if status is None:
            await self._answer(writer)
        else:
            await _send(writer, status, with_body=asked.method != b"HEAD")

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        try:
            page = await asyncio.to_thread(render, await self._measures())
        except Exception as error:
            # A fault of ours; one line for it, and not one for each that asks.
            if not self._broken:
                self._tell(f"metrics cannot be read: {type(error).__name__}: {error}")
            self._broken = True
            await _send(writer, HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        self._broken = False
        await _send(writer, HTTPStatus.OK, page.encode(), CONTENT_TYPE)


def refusal(request: h11.Request, address: Address) -> HTTPStatus | None:
    """Why a request is not answered; None where it is.

    A page in somebody's browser can have a name of its own lead to this machine: who is served on a local address has
    to say the name of one.
    """
    host = next((value.decode("latin-1") for name, value in request.headers if name == b"host"), "")
    if address.local and not _is_local(_without_port(host)):
        return HTTPStatus.MISDIRECTED_REQUEST
    if request.target.split(b"?", 1)[0] != b"/metrics":
        return HTTPStatus.NOT_FOUND
    return None if request.method == b"GET" else HTTPStatus.METHOD_NOT_ALLOWED


async def _request(reader: asyncio.StreamReader) -> h11.Request | None:
    """The head of the request; None where nobody asks. Raises RemoteProtocolError."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(_HEAD_BYTES))
    return event if isinstance(event, h11.Request) else None


async def _send(
    writer: asyncio.StreamWriter,
    status: HTTPStatus,
    body: bytes = b"",
    content_type: str = "text/plain; charset=utf-8",
    *,
    with_body: bool = True,
) -> None:
    body = body or f"{status.phrase}\n".encode()
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n"
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        head += "Allow: GET\r\n"
    writer.write(f"{head}\r\n".encode() + (body if with_body else b""))
    await writer.drain()
    writer.close()
    await writer.wait_closed()


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _is_local(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
