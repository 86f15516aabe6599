"""The keeper's own socket, as telemetry asks it: how much workers write, and what."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Mapping
from typing import Any, Final

from procq.core import Link
from procq.telemetry.volume import Volume

_PATIENCE: Final = 2.0
"""Seconds for an answer: it comes at once, unless the keeper is stopped."""


def connect(path: str) -> Link:
    """A conversation. Raises OSError where nobody listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return Link(sock.detach(), "client")


def volumes(path: str, patience: float = _PATIENCE) -> Mapping[str, Volume]:
    """What has become of the output of each queue, by name. Blocks for `patience` seconds at most.

    Nothing where nobody answers in time, or a keeper of an earlier version, which does not count it.
    """
    try:
        link = connect(path)
    except OSError:
        return {}
    found: dict[str, Volume] = {}
    try:
        link.send([{"t": "accounts"}])
        return found if _hear(link, found, time.monotonic() + patience) else {}
    except ConnectionError:
        return {}
    finally:
        link.close()


def _hear(link: Link, found: dict[str, Volume], deadline: float) -> bool:
    """Whether the whole answer has come."""
    waiter = select.poll()
    waiter.register(link.fileno(), select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        if not waiter.poll(left * 1000):
            break
        for reply in link.drain():
            if reply["t"] != "accounts":
                return False
            found.update((item["queue"], _volume(item)) for item in reply["items"])
            if reply["last"]:
                return True
    return False


def _volume(item: Mapping[str, Any]) -> Volume:
    dropped = {"console": "console_dropped", "file": "file_dropped", "reader": "readers_dropped"}
    return Volume(item["bytes"], item["lines"], {sink: item[name] for sink, name in dropped.items()})
