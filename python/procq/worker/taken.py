"""What a process with many threads has taken: messages begun or not, and whether it may take more. For Dramatiq."""

from __future__ import annotations

import threading
from typing import Any, Protocol

from procq import worker


class Taker(Protocol):
    """Who takes messages: in a thread of its own, one by one."""

    def has_more(self) -> bool:
        """Whether it has messages in store, which are as good as taken."""


class Attempt:
    """A message at work: in one thread, from its start until the broker knows how it has ended."""

    __slots__ = ("again", "message", "raised", "running")

    def __init__(self, message: Any, running: worker.Running) -> None:
        self.message = message
        self.running = running
        self.raised = self.again = False

    def end(self) -> None:
        """Says how."""
        if self.message.failed or (self.raised and not self.again):
            self.running.failed()
        elif self.raised:
            self.running.retried()
        else:
            self.running.done()


class Taken:
    """Says `parked` when no taker can come by a message any more; those that wait in the process count as busy."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        # Those that may come by a message, or have one in their hands.
        self._taking: set[Taker] = set()
        self._held: set[int] = set()
        self._mine = threading.local()

    def park(self) -> None:
        """No more are to be taken."""
        with self._lock:
            self._closed = True
            self._say()

    def resume(self) -> None:
        """Some may be taken again."""
        with self._lock:
            self._closed = False
            worker.parked(False)

    def waiting(self) -> int:
        """How many are here that have not begun. The one whose beginning this thread is just telling has."""
        return len(self._held) - getattr(self._mine, "begins", 0)

    def enter(self, taker: Taker) -> bool:
        """Whether it may take a message. The one that it had in its hands is on its way to a thread."""
        with self._lock:
            may = not self._closed or taker.has_more()
            if may:
                self._taking.add(taker)
            else:
                self._taking.discard(taker)
                self._say()
            return may

    def leave(self, taker: Taker) -> None:
        """It takes none any more."""
        with self._lock:
            self._taking.discard(taker)
            self._say()

    def _say(self) -> None:
        if self._closed and not self._taking:
            worker.parked()

    def hold(self, message: Any) -> None:
        """It was taken."""
        self._held.add(id(message))

    def begin(self, message: Any) -> None:
        """This thread begins it."""
        self._mine.begins = int(id(message) in self._held)
        origin = worker.Origin("dramatiq", message.queue_name, message.options)
        self._mine.attempt = Attempt(message, worker.Running(message.message_id, message.actor_name, origin))
        self._held.discard(id(message))
        self._mine.begins = 0

    def attempt(self) -> Attempt | None:
        """The one that this thread is at."""
        attempt: Attempt | None = getattr(self._mine, "attempt", None)
        return attempt

    def let_go(self, message: Any) -> None:
        """It is over, or was never begun and will not be here."""
        attempt = self.attempt()
        if id(message) in self._held:
            self._held.discard(id(message))
            worker.tell()
        elif attempt is not None and attempt.message is message:
            self._mine.attempt = None
            attempt.end()
