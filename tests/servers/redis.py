"""Redis on a unix socket, in memory only."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.servers.serving import program, serving


@contextmanager
def redis_server(folder: Path) -> Iterator[Path]:
    """Runs Redis in `folder`, which is made for it; yields the path of its socket."""
    folder.mkdir(mode=0o700)
    path = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    with serving([program("redis-server", "redis-server"), *options], folder / "redis.log", lambda: _answers(path)):
        yield path


def _answers(path: Path) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        connection.connect(str(path))
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False
