"""Serving the API on a listening unix socket that was given to us."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Generator
from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from procq.api.problems import problem

_CREDENTIALS = struct.Struct("3i")
_CONNECTIONS = 256
_HEADER_BYTES = 8 << 10
_GRACE = 1
FIRST_REQUEST = 10.0
"""Seconds that a new connection has for the head of its first request."""
LAST_REQUEST = 0.5
"""The same where we are about to leave."""


def peer_uid(peer: socket.socket) -> int:
    """The user at the other end of a unix socket, as the kernel knows it."""
    found = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(found)[1])


class _Protocol(H11Protocol):
    """HTTP/1.1 for peers of the same user and for root; everybody else is cut off before the first byte is read.

    So is who has not said what it wants in time: connections are few.
    """

    _patience: asyncio.TimerHandle | None = None
    _leaving = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if peer_uid(transport.get_extra_info("socket")) not in {0, os.geteuid()}:
            transport.abort()
        else:
            self._patience = self.loop.call_later(FIRST_REQUEST, transport.abort)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None:
            self._forget_patience()
            if self._leaving:
                self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Who has connected and not yet been heard is about to ask: he gets his answer."""
        if self._patience is None:
            super().shutdown()
        else:
            self._leaving = True
            self._forget_patience()
            self._patience = self.loop.call_later(LAST_REQUEST, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_patience()
        super().connection_lost(exc)

    def _forget_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


def bounded(app: ASGIApp) -> ASGIApp:
    """Answers a head of more than `_HEADER_BYTES` with 431; h11 bounds only one that arrives in pieces."""

    async def refuse_large(scope: Scope, receive: Receive, send: Send) -> None:
        size = len(scope["raw_path"]) + len(scope["query_string"])
        size += sum(len(name) + len(value) for name, value in scope["headers"])
        if size <= _HEADER_BYTES:
            await app(scope, receive, send)
        else:
            refusal = problem(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the head has more than {_HEADER_BYTES} bytes"
            )
            await refusal(scope, receive, send)

    return refuse_large


class ApiServer(Server):
    """A server without a clock: it does nothing while nobody asks. Signals are not its business."""

    def __init__(self, app: ASGIApp) -> None:
        config = Config(
            bounded(app),
            loop="none",
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE,
            h11_max_incomplete_event_size=_HEADER_BYTES,
        )
        super().__init__(config)
        self._stop = asyncio.Event()
        self.listening = asyncio.Event()

    async def main_loop(self) -> None:
        """Waits for `stop` instead of looking ten times a second whether there is something to do."""
        self.listening.set()
        await self._stop.wait()

    def stop(self) -> None:
        """Ends `serve` gracefully."""
        self.should_exit = True
        self._stop.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answers whoever was accepted: who is so just now has no protocol yet, and asyncio would drop him."""
        loop = asyncio.get_running_loop()
        for listener in sockets or ():
            loop.remove_reader(listener.fileno())
        # One turn for the transport, one for the protocol, and one to be sure.
        for _ in range(3):
            await asyncio.sleep(0)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leaves signal handlers alone."""
        yield
