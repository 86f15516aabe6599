"""The other end of the link to the keeper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from procq.engine.local import LocalKeeper
from procq.engine.port import (
    Command,
)
from procq.events import (
    KeeperEvent,
)

Message = dict[str, Any]
WELCOME = {"t": "welcome", "version": 1, "epoch": 2, "instance": 0xBEEF, "last_generation": 7, "shutting_down": False}


class FakeLink:
    """A link whose other end is the test."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, Any]] = []
        self.arrived: list[Message] = []
        self.closed = False

    def fileno(self) -> int:
        return 99

    def send(self, messages: Sequence[Mapping[str, Any]]) -> None:
        self.sent.extend(messages)

    def drain(self) -> list[Message]:
        messages, self.arrived = self.arrived, []
        return messages

    def close(self) -> None:
        self.closed = True


def sent(*commands: Command, environ: dict[bytes, bytes] | None = None) -> list[Mapping[str, Any]]:
    link = FakeLink()
    keeper = LocalKeeper(link, environ or {})
    link.arrived.append(WELCOME)
    keeper.receive()
    link.sent.clear()
    keeper.send(commands)
    return link.sent


def received(*messages: Message) -> list[KeeperEvent]:
    link = FakeLink()
    keeper = LocalKeeper(link, {})
    link.arrived.extend(messages)
    return keeper.receive()
