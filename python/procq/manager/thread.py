"""An asyncio loop on a thread of its own, for programs whose main thread belongs to somebody else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, Final, TypeVar

from procq.manager.errors import ManagerClosed

T = TypeVar("T")

_PATIENCE: Final = 5.0
"""Seconds in which those who wait may find out that everything has ended."""


class LoopThread:
    """Runs `main` in a loop until it ends; meanwhile others let things be done there. Does not keep a program alive."""

    def __init__(self, main: Coroutine[Any, Any, None]) -> None:
        """Starts the thread."""
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._over = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(main,), name="procq engine", daemon=True)
        self._thread.start()

    def call(self, act: Callable[[], T]) -> T:
        """Does `act` there, and returns or raises what it does. Raises ManagerClosed once `main` has ended."""

        async def run() -> T:
            return act()

        return self.run(run())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """As `call`, for a coroutine. An exception in the caller's thread, as from ^C, cancels it."""
        future = self._submit(work)
        try:
            return future.result()
        except CancelledError:
            raise _closed() from self._failure
        except BaseException:
            future.cancel()
            raise

    def join(self) -> None:
        """Blocks until `main` has ended."""
        self._thread.join()

    def abandon(self) -> None:
        """In a forked child: the thread is not there, nobody will answer."""
        self._lock = threading.Lock()
        self._over = True

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        with self._lock:
            if not self._over:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        raise _closed() from self._failure

    def _run(self, main: Coroutine[Any, Any, None]) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(main)
        except Exception as error:
            # Told to everybody who asks for something afterwards.
            self._failure = error
        with self._lock:
            self._over = True
        self._loop.run_until_complete(_finish())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


async def _finish() -> None:
    """Lets everybody who was accepted come to an end."""
    # Two turns: what was handed over from another thread becomes a task only in the next one.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=_PATIENCE)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


def _closed() -> ManagerClosed:
    return ManagerClosed("the manager is closed: its keeper is gone")
