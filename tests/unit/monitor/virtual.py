"""An asyncio loop whose time is that of a `Rig`: where it would wait, the rig's clock goes on, and nobody waits."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

from procq.events import Event
from procq.testing.rig import Rig


class _Selector(selectors.SelectSelector):
    def __init__(self, wait: Callable[[float], None]) -> None:
        super().__init__()
        self._wait = wait

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("everybody waits for something that nothing will bring about")
        if timeout > 0:
            self._wait(timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Threads are played in the loop itself."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(_Selector(self._pass))
        self._rig = rig
        self._clock_resolution = 1e-9
        self._settling = False
        rig.engine.on_work(self._settle_soon)

    def _settle_soon(self) -> None:
        # Settling is work by itself.
        if not self._settling:
            self.call_soon(self._settle)

    def _settle(self) -> None:
        self._settling = True
        self._rig.settle()
        self._settling = False

    def _pass(self, seconds: float) -> None:
        self._settling = True
        self._rig.advance_to_next(self._rig.clock.now + seconds)
        self._settling = False

    def time(self) -> float:
        return self._rig.clock.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = self.create_future()
        future.set_result(func(*args))
        return future


def play(rig: Rig, monitor: Coroutine[Any, Any, None], *steps: tuple[float, Callable[[], object]]) -> None:
    """Runs `monitor`, does each of `steps` so many seconds after the one before, and ends it after the last."""
    loop = VirtualLoop(rig)

    async def main() -> None:
        task = asyncio.ensure_future(monitor)
        try:
            for seconds, act in steps:
                await asyncio.sleep(seconds)
                if task.done():
                    await task
                act()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def nothing() -> None:
    """A step in which only time passes."""


class Heard:
    """What the engine was told."""

    def __init__(self, rig: Rig) -> None:
        self.events: list[Event] = []
        rig.engine.subscribe(self.events.extend)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]
