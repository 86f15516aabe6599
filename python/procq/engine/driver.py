"""Gives the engine its turns in an asyncio loop: one step a turn of the loop, however much became dirty in it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from procq.engine.loop import Engine
from procq.events import KeeperEvent


class Source(Protocol):
    """Where the keeper's events come from: a `LocalKeeper`."""

    def fileno(self) -> int:
        """The descriptor that is readable when `receive` has something to do."""

    def receive(self) -> list[KeeperEvent]:
        """The events that have arrived. Raises ConnectionError when the keeper is gone."""


class Driver:
    """Feeds events from `source` into `engine` and steps it, until the keeper is gone.

    The engine's clock has to be the loop's: `time.monotonic`.
    """

    def __init__(self, engine: Engine, source: Source) -> None:
        self._engine = engine
        self._source = source
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._over: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Runs until the keeper hangs up (then returns) or something that cannot be mended happens (then raises)."""
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        self._engine.on_work(self.poke)
        loop.add_reader(self._source.fileno(), self._receive)
        self.poke()
        try:
            await self._over
        except ConnectionError:
            return
        finally:
            loop.remove_reader(self._source.fileno())
            self._engine.on_work(lambda: None)
            for handle in (self._soon, self._timer):
                if handle is not None:
                    handle.cancel()

    def poke(self) -> None:
        """There is something to do: one step follows in this or the next turn of the loop."""
        if self._soon is None and self._over is not None:
            self._soon = asyncio.get_running_loop().call_soon(self._step)

    def _receive(self) -> None:
        try:
            self._engine.handle(self._source.receive())
        except Exception as error:
            self._fail(error)

    def _step(self) -> None:
        self._soon = None
        try:
            self._engine.step()
        except Exception as error:
            self._fail(error)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake_at = self._engine.wake_at
        if wake_at is not None:
            self._timer = asyncio.get_running_loop().call_at(wake_at, self.poke)

    def _fail(self, error: Exception) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_exception(error)
