"""The engine's turns in a real event loop; the keeper is a socket pair away."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence

import pytest

from procq.endings import ExitStatus
from procq.engine.driver import Driver
from procq.engine.loop import Engine
from procq.engine.port import Command, SpawnWorker
from procq.events import Attached, Executing, Exited, Gone, KeeperEvent, Snapshot
from procq.intent import ScaleTo, scale
from tests.queues import EMAILS_1, manifest, queue


class SocketKeeper:
    """Hands out events that the test put in, and wakes the loop as a link does."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.batches: list[list[Command]] = []
        self.events: list[KeeperEvent] = []
        self.error: Exception | None = None
        self.sent = asyncio.Event()

    def fileno(self) -> int:
        return self.near.fileno()

    def receive(self) -> list[KeeperEvent]:
        self.near.recv(4096)
        if self.error is not None:
            raise self.error
        events, self.events = self.events, []
        return events

    def send(self, commands: Sequence[Command]) -> None:
        self.batches.append(list(commands))
        self.sent.set()

    def report(self, *events: KeeperEvent) -> None:
        self.events.extend(events)
        self.far.send(b"!")

    def hang_up(self, error: Exception) -> None:
        self.error = error
        self.far.send(b"!")

    async def spawns(self, count: int) -> list[SpawnWorker]:
        async with asyncio.timeout(10):
            while len(found := [c for b in self.batches for c in b if isinstance(c, SpawnWorker)]) < count:
                self.sent.clear()
                await self.sent.wait()
        return found

    def close(self) -> None:
        self.near.close()
        self.far.close()


async def drive(keeper: SocketKeeper, engine: Engine) -> None:
    """A crash loop: the second replacement comes only with the timer."""
    over = asyncio.create_task(Driver(engine, keeper).run())
    keeper.report(Attached(1, 5, 0, False), Snapshot((), time.monotonic(), 0))
    for generation in (1, 2, 3):
        await keeper.spawns(generation)
        now = time.monotonic()
        keeper.report(
            Executing(EMAILS_1, generation, 7, now),
            Exited(EMAILS_1, generation, ExitStatus(1), now),
            Gone(EMAILS_1, generation, 0, now),
        )
    await keeper.spawns(4)
    engine.change(lambda i: scale(i, "emails", ScaleTo(3)), "test")
    engine.change(lambda i: scale(i, "emails", ScaleTo(2)), "test")
    spawns = await keeper.spawns(5)
    assert [s.worker.slot for s in spawns] == [1, 1, 1, 1, 2]
    keeper.hang_up(ConnectionResetError("gone"))
    async with asyncio.timeout(10):
        await over


def test_it_lives_until_the_keeper_hangs_up() -> None:
    async def main() -> None:
        keeper = SocketKeeper()
        engine = Engine(keeper, time.monotonic)
        engine.adopt(manifest(queue()), "test")
        try:
            await drive(keeper, engine)
        finally:
            keeper.close()

    asyncio.run(main())


def test_garbage_ends_it_with_the_error() -> None:
    async def main() -> None:
        keeper = SocketKeeper()
        over = asyncio.create_task(Driver(Engine(keeper, time.monotonic), keeper).run())
        keeper.hang_up(ValueError("garbage"))
        try:
            with pytest.raises(ValueError, match="garbage"):
                await asyncio.wait_for(over, 10)
        finally:
            keeper.close()

    asyncio.run(main())
