"""One question to a worker, over a socket: does the port accept, what does the URL answer."""

from __future__ import annotations

import asyncio
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from os import strerror
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from procq.model import HttpCheck, TcpCheck, WorkerId, filled_in
from procq.plan.wording import duration

_MOST_HEAD: Final = 16 << 10
"""Bytes that the head of an answer may have."""
_MOST_BODY: Final = 64 << 10
"""Bytes of a body that are read, so that the other side is not cut off in the middle of its answer."""
_PATIENCE: Final = 0.5
"""Seconds for the body, which decides nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question led to, in words; `good` is None where nothing follows from it for the worker."""

    good: bool | None
    text: str


async def ask(check: TcpCheck | HttpCheck, worker: WorkerId, timeout: float) -> Answer:
    """What `worker` answers, within `timeout` seconds."""
    match check:
        case TcpCheck(port):
            return await ask_port(port, timeout)
        case HttpCheck(url):
            return await ask_url(filled_in(url, worker), timeout)


async def ask_port(port: int, timeout: float) -> Answer:
    """Whether `port` of this machine accepts a connection."""
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except TimeoutError:
        return Answer(False, f"no connection to port {port} within {duration(timeout)}")
    except OSError as error:
        return Answer(False, f"port {port}: {_reason(error)}")
    writer.close()
    return Answer(True, f"port {port} accepts connections")


async def ask_url(url: str, timeout: float) -> Answer:
    """What a GET of `url` is answered with. Redirects are not followed, certificates are checked."""
    # Of the server's libraries; most control planes never need it before somebody asks for their status.
    import h11

    try:
        async with asyncio.timeout(timeout):
            status = await _status(urlsplit(url), h11)
    except TimeoutError:
        return Answer(False, f"no answer within {duration(timeout)} from {url}")
    except ssl.SSLError as error:
        return Answer(False, f"{url}: {getattr(error, 'verify_message', '') or error.reason}")
    except OSError as error:
        return Answer(False, f"{url}: {_reason(error)}")
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        return Answer(False, f"what answers at {url} does not speak HTTP")
    except ValueError as error:
        return Answer(False, f"{url}: {error}")
    if status is None:
        return Answer(False, f"{url}: the connection was closed without an answer")
    return Answer(200 <= status < 400, f"http {status} from {url}")


async def _status(url: SplitResult, h11: Any) -> int | None:
    tls = await asyncio.to_thread(_tls) if url.scheme == "https" else None
    port = url.port or (443 if tls else 80)
    reader, writer = await asyncio.open_connection(url.hostname, port, ssl=tls, limit=_MOST_HEAD)
    try:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST_HEAD)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = [("Host", url.netloc), ("User-Agent", "procq"), ("Accept", "*/*"), ("Connection", "close")]
        writer.write(connection.send(h11.Request(method="GET", target=target, headers=headers)))
        writer.write(connection.send(h11.EndOfMessage()))
        await writer.drain()
        status = await _head(connection, reader, h11)
        if status is not None:
            with suppress(TimeoutError, OSError, h11.RemoteProtocolError):
                async with asyncio.timeout(_PATIENCE):
                    await _body(connection, reader, h11)
        return status
    finally:
        # Not closed in form: a side that does not answer must not keep the descriptor.
        writer.transport.abort() if tls else writer.close()


async def _head(connection: Any, reader: asyncio.StreamReader, h11: Any) -> int | None:
    received = False
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(4096)
            if not data and not received:
                return None
            received = True
            connection.receive_data(data)
        elif isinstance(event, h11.Response):
            return int(event.status_code)
        elif not isinstance(event, h11.InformationalResponse):
            return None


async def _body(connection: Any, reader: asyncio.StreamReader, h11: Any) -> None:
    size = 0
    while size < _MOST_BODY:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(4096))
        elif isinstance(event, h11.Data):
            size += len(event.data)
        else:
            return


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _reason(error: OSError) -> str:
    """In the system's words: asyncio puts addresses around them, and makes one text of several errors."""
    found = re.search(r"\[Errno (\d+)\]", str(error))
    number = error.errno if error.errno is not None else int(found[1]) if found else 0
    return (strerror(number) if number > 0 else str(error.strerror or error)).lower()
