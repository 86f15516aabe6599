"""A service manager's ear: a datagram socket, as systemd listens to it."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from pathlib import Path
from typing import Final

from tests.process.support.waiting import until

_CREDENTIALS: Final = struct.Struct("3i")


class Ear:
    """Hears what a service says, and who says it. Lines of one message stay together."""

    def __init__(self, *, abstract: bool = False) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="pq-")
        path = Path(self._directory.name, "notify")
        self.address = f"@procq-test-{os.getpid()}-{path.parent.name}" if abstract else str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(self.address.replace("@", "\0", 1))
        self._socket.setblocking(False)
        self.heard: list[dict[str, str]] = []
        self.senders: set[int] = set()

    def listen(self) -> list[dict[str, str]]:
        """Everything so far."""
        while True:
            try:
                data, more, _, _ = self._socket.recvmsg(8192, socket.CMSG_SPACE(_CREDENTIALS.size))
            except BlockingIOError:
                return self.heard
            self.heard.append(dict(line.split("=", 1) for line in data.decode().splitlines()))
            self.senders.update(_CREDENTIALS.unpack(data)[0] for _, _, data in more)

    def until(self, name: str, value: str | None = None, after: int = 0) -> int:
        """Waits for an assignment, from message number `after` on. Returns the number of the message behind it."""

        def found() -> int:
            for number, message in enumerate(self.listen()[after:], after + 1):
                if name in message and value in (None, message[name]):
                    return number
            return 0

        return until(found, lambda: f"{name}={value or ''}; heard {self.heard[-10:]}")

    def last(self, name: str) -> str:
        """What it was last set to."""
        return next((message[name] for message in reversed(self.listen()) if name in message), "")

    def count(self, name: str) -> int:
        return sum(name in message for message in self.listen())

    def close(self) -> None:
        self._socket.close()
        self._directory.cleanup()
