"""A loop on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from procq.manager.errors import ManagerClosed
from procq.manager.thread import LoopThread


def made() -> tuple[LoopThread, Callable[[], None]]:
    """A thread, and what ends it."""
    end = asyncio.Event()

    async def main() -> None:
        await end.wait()

    thread = LoopThread(main())
    return thread, lambda: thread.call(end.set)


def test_what_is_done_there_returns_and_raises_here() -> None:
    thread, end = made()
    assert thread.call(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda: 1 // 0)
    end()
    thread.join()


def test_nothing_is_done_after_the_end_and_nothing_waits_for_ever() -> None:
    thread, end = made()
    never = asyncio.Event()
    failures: list[BaseException] = []

    def wait() -> None:
        async def forever() -> None:
            await asyncio.wait_for(never.wait(), 0.1)

        try:
            thread.run(forever())
        except BaseException as error:
            failures.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    end()
    thread.join()
    waiter.join(10)
    assert [type(failure) for failure in failures] in ([TimeoutError], [ManagerClosed])
    with pytest.raises(ManagerClosed):
        thread.call(int)


def test_what_ended_it_is_told_to_those_who_ask_afterwards() -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    thread = LoopThread(fails())
    thread.join()
    with pytest.raises(ManagerClosed) as closed:
        thread.call(int)
    assert isinstance(closed.value.__cause__, ZeroDivisionError)


def test_an_interrupt_cancels_what_it_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    thread, end = made()
    cancelled = threading.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    real = asyncio.run_coroutine_threadsafe

    def interrupted(work: Any, loop: Any) -> Any:
        future: Any = real(work, loop)

        def result() -> None:
            # Let it begin: what never ran has nothing to be told.
            thread._loop.call_soon_threadsafe(begun.set)
            assert begun.wait(10)
            raise KeyboardInterrupt

        begun = threading.Event()
        monkeypatch.setattr(future, "result", result)
        return future

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        thread.run(work())
    monkeypatch.undo()
    assert cancelled.wait(10)
    end()
    thread.join()
