"""What the adapters of asyncio libraries have in common: the gate before the broker, and the jobs behind it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, ClassVar, Final

from procq import worker
from procq.worker import Origin, Running

Take = Callable[..., Awaitable[Any]]
"""Takes a job in its own way: the first argument is the library's way, the others are the arguments for that."""
_LOOK: Final = 0.5
"""Seconds between two looks of a loop that is parked."""


class Gate:
    """Whether an event loop may take jobs. It is made and used in that loop; procq shuts and opens it from a thread.

    It is said to be parked when the gate is shut and nobody is between the broker and the count any more. Jobs are
    taken inside `taking`, and there they become busy: with `worker.Running`, or with `took` if they begin later.
    """

    _listening: ClassVar[Gate | None] = None

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._open = asyncio.Event()
        self._open.set()
        self._taking = self._waiting = self._beginning = 0

    @classmethod
    def listening(cls) -> Gate:
        """The one that procq shuts and opens: all workers in this loop have it in common."""
        if cls._listening is None or cls._listening._loop is not asyncio.get_running_loop():
            cls._listening = Gate()
            cls._listening._listen()
        return cls._listening

    def _listen(self) -> None:
        worker.can_park(lambda: self._call(self._shut), lambda: self._call(self._reopen), self._count)
        # It may have been shut with that, too early to be said.
        self._look()

    def _call(self, what: Callable[[], None]) -> None:
        if threading.get_ident() == self._thread:
            what()
            return
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(what)

    def _shut(self) -> None:
        self._open.clear()
        self._look()

    def _reopen(self) -> None:
        self._open.set()
        worker.parked(False)

    def _look(self) -> None:
        if not self._open.is_set() and self._taking == 0:
            worker.parked()

    @property
    def is_open(self) -> bool:
        """Whether jobs may be taken."""
        return self._open.is_set()

    async def passes(self, stop: asyncio.Event | None = None) -> bool:
        """Waits until jobs may be taken, or until `stop`; says whether they may be.

        Meanwhile the loop does not sleep for long: a handler of a signal that only sets something does not wake it.
        """
        while not self._open.is_set() and not (stop is not None and stop.is_set()):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._open.wait(), _LOOK)
        return self._open.is_set()

    @contextmanager
    def taking(self) -> Iterator[None]:
        """Jobs are taken from the broker in here. Between `passes`, or `is_open`, and this nothing may be awaited."""
        self._taking += 1
        try:
            yield
        finally:
            self._taking -= 1
            self._look()

    def took(self) -> None:
        """A job was taken that begins later: once `begin` is called."""
        self._waiting += 1

    def begin(self, id: object, name: object, origin: Origin | None = None) -> Running:
        """One of those that were taken begins."""
        # What this thread says meanwhile counts it once; what another one says may count it twice, but never not.
        self._beginning = 1
        try:
            return Running(id, name, origin)
        finally:
            self._beginning = 0
            self._waiting -= 1

    def _count(self) -> int:
        return self._waiting - (self._beginning if threading.get_ident() == self._thread else 0)


class Attempt:
    """A job that was taken, which is known better later, and at last how it has ended: `outcome`."""

    __slots__ = ("_gate", "_running", "id", "origin", "outcome")

    def __init__(
        self, gate: Gate, outcome: Callable[[Running], None], id: str = "?", origin: Origin | None = None
    ) -> None:
        self._gate = gate
        self.origin = origin
        self._running: Running | None = None
        self.id: Any = id
        self.outcome = outcome

    def begin(self, id: Any, name: str) -> None:
        """It begins, if it has not yet."""
        if self._running is None:
            self.id = id
            self._running = self._gate.begin(id, name, self.origin)

    def end(self) -> None:
        """It is over. One that was dropped before it began has begun and ended with this."""
        self.begin(self.id, "")
        assert self._running is not None
        self.outcome(self._running)


def stand_before(owner: Any, name: str, take: ContextVar[Take | None]) -> None:
    """Puts `take` before a method, where the caller's context has one: others may share `owner` and call it too."""
    own = getattr(owner, name)
    if getattr(own, "stands_before", None) is take:
        return

    async def passed(*arguments: Any, **options: Any) -> Any:
        taker = take.get()
        return await (own(*arguments, **options) if taker is None else taker(own, *arguments, **options))

    passed.stands_before = take  # type: ignore[attr-defined]
    setattr(owner, name, passed)
