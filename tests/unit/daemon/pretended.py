"""A control plane in this process, on the real clock, whose keeper is pretended."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from procq.daemon.options import Options
from procq.daemon.plane import ControlPlane
from procq.engine.loop import Engine
from procq.engine.port import Announce, Command
from procq.events import KeeperEvent
from procq.testing import Casting, FakeKeeper, Script, VirtualClock, everyone

PATIENCE = 30.0  # seconds; only ever spent by a test that fails


class RealClock(VirtualClock):
    """Time as it passes."""

    def __getattribute__(self, name: str) -> Any:
        return time.monotonic() if name == "now" else super().__getattribute__(name)


class Pretended:
    """The keeper, and its end of the conversation: a source for the driver."""

    def __init__(self, casting: Casting | None = None) -> None:
        self.keeper = FakeKeeper(RealClock(), casting or everyone(Script()))
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        self.gone = False

    def fileno(self) -> int:
        return self._ear.fileno()

    def receive(self) -> list[KeeperEvent]:
        if self.gone:
            raise ConnectionError
        self._ear.recv(1 << 16)
        return self.keeper.take()

    async def live(self) -> None:
        """Lets time pass for the workers."""
        while True:
            self.keeper.fire()
            if self.keeper._events:
                self.ring()
            await asyncio.sleep(0.002)

    def report(self, event: KeeperEvent) -> None:
        """Says something that no worker leads to."""
        self.keeper._events.append(event)
        self.ring()

    def ring(self) -> None:
        self._bell.send(b"!")

    def close(self) -> None:
        self._bell.close()
        self._ear.close()

    def said(self) -> list[str]:
        """All lines for the terminal so far."""
        return [line for command in self.keeper.commands if isinstance(command, Announce) for line in command.lines]

    def sent(self, kind: type[Command]) -> list[Command]:
        return [command for command in self.keeper.commands if isinstance(command, kind)]

    async def until(self, holds: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, f"waited in vain for {what}; said: {self.said()}"
            await asyncio.sleep(0.002)


@asynccontextmanager
async def control_plane(keeper: Pretended, manifest: Path, **options: object) -> AsyncIterator[ControlPlane]:
    """A control plane that attached to `keeper`; it hangs up at the end."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    address = manifest.parent / "api.sock"
    address.unlink(missing_ok=True)
    listener.bind(str(address))
    listener.listen()
    keeper.gone = False
    keeper.keeper.attach()
    keeper.ring()
    chosen = Options(manifest, "", time.monotonic(), 13, False, api_fd=os.dup(listener.fileno()))
    plane = ControlPlane(Engine(keeper.keeper, time.monotonic), keeper, chosen)
    living = asyncio.create_task(keeper.live())
    running = asyncio.create_task(plane.run())
    try:
        yield plane
        keeper.gone = True
        keeper.ring()
        async with asyncio.timeout(PATIENCE):
            await running
    finally:
        living.cancel()
        running.cancel()
        listener.close()
