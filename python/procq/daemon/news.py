"""Waiting for the engine: conditions over its state, looked at again after each of its steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from procq.events import Event


class News:
    """Wakes whoever waits, whenever the engine has published something."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def publish(self, events: Sequence[Event]) -> None:
        """Subscriber of an engine."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def next(self) -> None:
        """Returns when something more has been published."""
        await self._event.wait()

    async def until(self, holds: Callable[[], bool], timeout: float | None = None) -> bool:
        """Returns once `holds`; False when it did not within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while not holds():
                    await self._event.wait()
        except TimeoutError:
            return holds()
        return True
