"""An engine on a thread of its own, for programs whose main thread belongs to somebody else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from procq.engine.driver import Driver, Source
from procq.engine.loop import Engine
from procq.events import Event

T = TypeVar("T")


class EngineGone(RuntimeError):
    """The keeper hung up: the engine has nobody left to talk to."""


class EngineThread:
    """Drives `engine` until the keeper hangs up. The engine is touched by this thread only; others use `call`."""

    def __init__(self, engine: Engine, source: Source) -> None:
        """Starts the thread. It does not keep the program from ending."""
        self._engine = engine
        self._driver = Driver(engine, source)
        self._loop = asyncio.new_event_loop()
        self._news = threading.Condition()
        self._steps = 0
        self._over = False
        self._failure: BaseException | None = None
        engine.subscribe(self._published)
        self._thread = threading.Thread(target=self._run, name="procq engine", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether the keeper has hung up."""
        return self._over

    def call(self, act: Callable[[], T]) -> T:
        """Runs `act` where the engine lives, and returns or raises what it does. Raises EngineGone."""
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(act())
            except BaseException as error:
                done.set_exception(error)

        with self._news:
            if self._over:
                raise EngineGone("the keeper is gone") from self._failure
            self._loop.call_soon_threadsafe(run)
        return done.result()

    def wait(self, holds: Callable[[], bool], timeout: float | None = None) -> bool:
        """Blocks until `holds`, looked at where the engine lives; False after `timeout` seconds. Raises EngineGone."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            seen = self._steps
            if self.call(holds):
                return True
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._wait_for_step(seen, left)

    def join(self, timeout: float | None = None) -> bool:
        """Blocks until the keeper has hung up; False when it has not after `timeout` seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """In a forked child: the thread is not there, nobody will answer."""
        self._news = threading.Condition()
        self._over = True

    def _wait_for_step(self, seen: int, timeout: float | None) -> None:
        with self._news:
            self._news.wait_for(lambda: self._steps != seen or self._over, timeout)

    def _published(self, events: Sequence[Event]) -> None:
        with self._news:
            self._steps += 1
            self._news.notify_all()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._driver.run())
        except BaseException as error:
            self._failure = error
        with self._news:
            self._over = True
            self._news.notify_all()
        # Calls that were accepted before the end are answered.
        self._loop.call_soon(self._loop.stop)
        self._loop.run_forever()
        self._loop.close()
