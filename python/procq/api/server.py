"""Serving the API on a listening unix socket that was given to us."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Generator

from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

_CREDENTIALS = struct.Struct("3i")
_CONNECTIONS = 256
_HEADER_BYTES = 8 << 10
_GRACE = 1


def peer_uid(peer: socket.socket) -> int:
    """The user at the other end of a unix socket, as the kernel knows it."""
    found = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(found)[1])


class _Protocol(H11Protocol):
    """HTTP/1.1 for peers of the same user and for root; everybody else is cut off before the first byte is read."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if peer_uid(transport.get_extra_info("socket")) not in {0, os.geteuid()}:
            transport.abort()


class ApiServer(Server):
    """A server without a clock: it does nothing while nobody asks. Signals are not its business."""

    def __init__(self, app: ASGIApp) -> None:
        config = Config(
            app,
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

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leaves signal handlers alone."""
        yield
