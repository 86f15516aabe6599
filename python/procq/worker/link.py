"""The socket between a worker and its procq: lines as in sd_notify(3) one way, `PARK` and `RESUME` back."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping

_LONGEST = 64
"""Bytes of what procq says; it says one word."""
_LATER = 0.02
"""Seconds until that is said which found no room, or can wait for company."""
_AT_THE_END = 0.25
"""Seconds for which a process that ends waits for room."""


class Link:
    """Sends without ever waiting; has a thread where somebody wants to hear, or where something is to be said later.

    Only about ten messages fit into the socket. Where one does not, `say_again` is called in that thread a moment
    later, to say all that is true by then.
    """

    def __init__(self, address: str, say_again: Callable[[], None]) -> None:
        """Raises OSError where nobody is at `address`."""
        self._say_again = say_again
        self._heed: Mapping[str, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None
        self._late = self._awake = False
        self._wake: tuple[int, int] | None = None
        self._sent = -_LATER
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            # A name of our own, which the kernel chooses: answers come there, and from nobody else.
            self._socket.bind("")
            self._socket.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        except OSError:
            self._socket.close()
            raise

    def send(self, text: bytes) -> None:
        """Says it now, or as soon as there is room. Nothing where procq does not listen any more."""
        self._sent = time.monotonic()
        try:
            self._socket.send(text, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            self.later()
        except OSError:
            pass

    @property
    def rests(self) -> bool:
        """Whether nothing was said for a moment. What comes sooner is cheaper said `later`, with what comes then."""
        return time.monotonic() - self._sent >= _LATER

    def later(self) -> None:
        """Has all of it said a moment later. While jobs follow each other closely that costs nearly nothing."""
        self._late = True
        if not self._awake:
            self._awake = True
            self._begin()
            assert self._wake is not None
            with contextlib.suppress(BlockingIOError):
                os.write(self._wake[1], b"\0")

    def insist(self, text: bytes) -> None:
        """Says it, and waits a moment for room: nobody will say it again."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(_AT_THE_END)
            self._socket.send(text, socket.MSG_NOSIGNAL)

    def listen(self, heed: Mapping[str, Callable[[], None]]) -> None:
        """Calls, in a thread of its own, what belongs to each word that procq says."""
        self._heed = heed
        self._begin()

    def drop(self) -> None:
        """For a child after a fork: the socket and whoever listens are the parent's."""
        self._socket.close()
        for descriptor in self._wake or ():
            os.close(descriptor)

    def _begin(self) -> None:
        if self._thread is None:
            self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self._thread = threading.Thread(target=self._run, name="procq-worker", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        assert self._wake is not None
        due: float | None = None
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake[0], selectors.EVENT_READ)
            selector.register(self._socket, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(None if due is None else max(0.0, due - time.monotonic())):
                    if key.fileobj is self._socket:
                        if not self._hear():
                            selector.unregister(self._socket)
                    else:
                        os.read(self._wake[0], 4096)
                if due is None or time.monotonic() >= due:
                    due = time.monotonic() + _LATER if self._goes_on(due is not None) else None

    def _goes_on(self, due: bool) -> bool:
        """Says what is late, if that is due; whether to look again in a moment."""
        if due and self._late:
            self._late = False
            self._say_again()
        elif due:
            # In this order: who has something to say sees that it has to wake us, or we see that there is something.
            self._awake = False
            self._awake = self._late
        return self._awake

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
