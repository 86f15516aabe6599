"""The keeper's own socket, asked by its owner: what the workers write."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Final

from procq.core import Link
from procq.errors import ProcqError
from procq.manager.lines import Line, Splitter

_MOST_LINES: Final = 1_000_000
_CREDENTIALS: Final = struct.Struct("3i")
_PAUSE: Final = 0.005
"""Seconds before somebody knocks again who stood in too long a row."""
_QUIET: Final = 2
"""Answers in a row without output between them after which nothing is left: the second one comes after all output that
there was when the first was written."""


def check_lines(lines: int) -> None:
    """Raises ValueError for a number of lines that cannot be asked for."""
    if not 0 <= lines <= _MOST_LINES:
        raise ValueError(f"between 0 and {_MOST_LINES} lines can be had, not {lines}")


class Outputs:
    """Where the keeper of one manager is asked for output: a socket without a file, which nobody can leave behind."""

    def __init__(self) -> None:
        """Makes the listener that the keeper is to serve."""
        self._address = f"\0procq-{secrets.token_hex(16)}"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self._address)
        self.listener.listen(128)
        self.listener.setblocking(False)
        self._links: set[Link] = set()

    def abandon(self) -> None:
        """In a forked child: the conversations are the parent's."""
        for link in self._links:
            link.close()

    async def read(
        self, worker: str, lines: int, follow: bool, resting: Callable[[], bool], wakes: Callable[[asyncio.Event], Any]
    ) -> AsyncGenerator[list[Line], None]:
        """The last `lines` of `worker`, then with `follow` what comes until it rests; what arrives together at once.

        `resting` says whether anything of it lives or will; `wakes` has an event set whenever that may have changed,
        and returns how to end that.
        """
        try:
            link = await self._connect()
        except ConnectionRefusedError:
            return
        self._links.add(link)
        news = asyncio.Event()
        forget = wakes(news)
        conversation = _Conversation(link, resting if follow else None)
        try:
            conversation.begin(worker, lines)
            while True:
                for batch in conversation.hear():
                    yield batch
                    # A megabyte may have come at once: the others get their turn between two pieces of it.
                    await asyncio.sleep(0)
                if conversation.over():
                    break
                await _readable(link, news)
        except ConnectionError:
            if not conversation.answered and await self._keeper_lives():
                raise ProcqError(
                    f"the keeper did not let another reader of {worker} in",
                    hint="It has 256 at a time; close some (an iterator that is left is closed when it is forgotten).",
                ) from None
        finally:
            forget()
            self._links.discard(link)
            link.close()
        if rest := conversation.split.rest(worker):
            yield rest

    async def _keeper_lives(self) -> bool:
        try:
            link = await self._connect()
        except ConnectionRefusedError:
            return False
        link.close()
        return True

    async def _connect(self) -> Link:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            while not _connected(sock, self._address):
                await asyncio.sleep(_PAUSE)
            _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
            if uid not in (0, os.getuid()):
                raise ConnectionRefusedError("the keeper is gone, and a stranger took its address")
        except BaseException:
            sock.close()
            raise
        return Link(sock.detach(), "client")


def _connected(sock: socket.socket, address: str) -> bool:
    """Knocks; False where too many wait at the door. Raises ConnectionRefusedError when nobody is there."""
    try:
        sock.connect(address)
    except BlockingIOError:
        return False
    return True


class _Conversation:
    """One question for output, and the answers. `resting` is None for a question that has an end of its own."""

    def __init__(self, link: Link, resting: Callable[[], bool] | None) -> None:
        self.split = Splitter()
        self.answered = False
        self._link = link
        self._resting = resting
        self._asked = False
        self._quiet = 0

    def begin(self, worker: str, lines: int) -> None:
        follow = self._resting is not None
        self._link.send([{"t": "logs", "workers": [worker], "tail": lines, "follow": follow}])

    def hear(self) -> Iterator[list[Line]]:
        """The lines that have arrived, piece by piece. Raises ConnectionError when the keeper is gone."""
        for reply in self._link.drain():
            self.answered = True
            match reply["t"]:
                case "output" | "gap":
                    self._quiet = 0
                    if found := self.split.lines(reply):
                        yield found
                case "tail_end" if self._resting is None:
                    self._quiet = _QUIET
                case "info":
                    self._asked = False
                    self._quiet += 1
                case "error":
                    raise ProcqError(reply["message"])

    def over(self) -> bool:
        """Whether nothing more will come; where that is not known, asks."""
        if self._resting is None:
            return self._quiet >= _QUIET
        if not self._resting():
            self._quiet = 0
        elif self._quiet >= _QUIET:
            return True
        elif not self._asked:
            self._link.send([{"t": "info"}])
            self._asked = True
        return False


async def _readable(link: Link, news: asyncio.Event) -> None:
    """Waits. The descriptor is watched only here: a reader that takes its time must not keep the loop busy."""
    loop = asyncio.get_running_loop()
    loop.add_reader(link.fileno(), news.set)
    try:
        await news.wait()
    finally:
        loop.remove_reader(link.fileno())
        news.clear()
