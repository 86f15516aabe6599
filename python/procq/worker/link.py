"""The socket between a worker and its procq: lines as in sd_notify(3) one way, `PARK` and `RESUME` back."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping

_LONGEST = 64
"""Bytes of what procq says; it says one word."""
_LATER = 0.02
"""Seconds until that is said which found no room, or can wait for company."""
_IN_A_SERIES = 0.25
"""The same, for as long as there is something to say each time."""
_AT_ONCE = 6
"""Words that are said at once before others wait; one more may be for each time of `_LATER` that has passed."""
_AT_THE_END = 0.25
"""Seconds for which a process that ends waits for room."""


class Link:
    """Sends without ever waiting; has a thread where somebody wants to hear, or where something is to be said later.

    Only about ten messages fit into the socket. Where one does not, `say_again` is called in that thread a moment
    later, to say all that is true by then; and again and again, for as long as there is `news` each time.
    """

    def __init__(self, address: str, say_again: Callable[[], None], news: Callable[[], object]) -> None:
        """Raises OSError where nobody is at `address`."""
        self._say_again, self._news = say_again, news
        self._heed: Mapping[str, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None
        self._beginning = threading.RLock()
        self._late = False
        self.awake = False
        """Whether the thread looks again in a moment whether there is news."""
        self._selector: selectors.BaseSelector | None = None
        self._wake: tuple[int, int] | None = None
        self._sent, self._allowed = 0.0, float(_AT_ONCE)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            # A name of our own, which the kernel chooses: answers come there, and from nobody else.
            self._socket.bind("")
            self._socket.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        except OSError:
            self._socket.close()
            raise

    def send(self, text: bytes) -> bool:
        """Says it now, or else all of it as soon as there is room. Nothing where procq does not listen any more."""
        self._sent, self._allowed = time.monotonic(), max(self._allowance() - 1, 0)
        try:
            self._socket.send(text, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            self.later()
            return False
        except OSError:
            pass
        return True

    @property
    def rests(self) -> bool:
        """Whether little was said of late. Else words are cheaper said `later`, together with those that come then."""
        return self._allowance() >= 1

    def _allowance(self) -> float:
        return min(self._allowed + (time.monotonic() - self._sent) / _LATER, _AT_ONCE)

    def later(self) -> bool:
        """Has all of it said a moment later, which costs nearly nothing while jobs follow each other closely.

        False where that cannot be: there is no thread to be had.
        """
        self._late = True
        if not self.awake:
            if not self._begin():
                return False
            self.awake = True
            assert self._wake is not None
            with contextlib.suppress(BlockingIOError):
                os.write(self._wake[1], b"\0")
        return True

    def insist(self, text: bytes) -> None:
        """Says it, and waits a moment for room: nobody will say it again."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(_AT_THE_END)
            self._socket.send(text, socket.MSG_NOSIGNAL)

    def listen(self, heed: Mapping[str, Callable[[], None]]) -> bool:
        """Calls, in a thread of its own, what belongs to each word that procq says. False if there is no thread."""
        self._heed = heed
        return self._begin()

    def drop(self) -> None:
        """For a child after a fork: the socket and whoever listens are the parent's."""
        self._socket.close()
        if self._selector is not None:
            self._selector.close()
        for descriptor in self._wake or ():
            os.close(descriptor)

    def _begin(self) -> bool:
        """Sees that there is one thread. A job must not fail because there are no more of them, or of descriptors."""
        if self._thread is None and not sys.is_finalizing():
            with self._beginning, contextlib.suppress(OSError, RuntimeError):
                if self._thread is None:
                    self._thread = self._begun()
        return self._thread is not None

    def _begun(self) -> threading.Thread:
        if self._wake is None:
            self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._selector is None:
            self._selector = selectors.DefaultSelector()
            self._selector.register(self._wake[0], selectors.EVENT_READ)
            self._selector.register(self._socket, selectors.EVENT_READ)
        arguments = self._selector, self._wake[0]
        thread = threading.Thread(target=self._run, args=arguments, name="procq-worker", daemon=True)
        thread.start()
        return thread

    def _run(self, selector: selectors.BaseSelector, wake: int) -> None:
        due: float | None = None
        while True:
            for key, _ in selector.select(None if due is None else max(0.0, due - time.monotonic())):
                if key.fileobj is self._socket:
                    if not self._hear():
                        selector.unregister(self._socket)
                else:
                    os.read(wake, 4096)
            if due is None or time.monotonic() >= due:
                wait = self._goes_on(due is not None)
                due = None if wait is None else time.monotonic() + wait

    def _goes_on(self, due: bool) -> float | None:
        """Says what is late, if that is due; seconds until it is to look again, None for not before it is woken."""
        if due and (self._late or self._news()):
            self._late = False
            self._say_again()
            return _LATER if self._late else _IN_A_SERIES
        if due:
            # In this order: who has something to say sees that it has to wake us, or we see that there is something.
            self.awake = False
            self.awake = self._late or bool(self._news())
        return _LATER if self.awake else None

    def _hear(self) -> bool:
        try:
            words = self._socket.recv(_LONGEST)
        except BlockingIOError:
            return True
        except OSError:
            return False
        for word in words.decode("ascii", "replace").split():
            if word in self._heed:
                self._heed[word]()
        return True
