"""Reads what workers write from the keeper, in a thread, and hands it over line by line."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from procq.core import Link
from procq.telemetry.keeper import connect
from procq.telemetry.lane import Lane
from procq.telemetry.lines import Lines, Piece
from procq.telemetry.logs import Record
from procq.telemetry.spans import Context

_AGAIN: Final = 1.0
"""Seconds between two attempts to be let in."""
_ALL: Final = 2**32 - 1
_NOBODY: Final[dict[str, Any]] = {"t": "logs", "workers": ["\0"], "tail": 0, "follow": False}
_LEAVE: Final[dict[str, Any]] = {"t": "logs", "workers": [], "tail": 0, "follow": False, "lasting": True}

Build = Callable[[Callable[[], None]], Sequence[Lane[Record]]]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The queues to be read. `every`: those are all that there are."""

    queues: Set[str] = frozenset()
    every: bool = False
    from_start: bool = False

    def request(self, first: bool) -> dict[str, Any]:
        tail = _ALL if first and self.from_start else 0
        workers = [] if self.every else sorted(self.queues)
        return {"t": "logs", "workers": workers, "tail": tail, "follow": True, "lasting": True}


class Reader:
    """Begins to read once there are lanes. All methods may be called from the control loop: none waits.

    `say` hears, in the thread, why it has ended where nobody asked it to. Raises OSError or RuntimeError where there
    are no descriptors or no thread for it.
    """

    def __init__(self, path: str, say: Callable[[str], None]) -> None:
        self._path = path
        self._say = say
        self._wanted = self._asked = _Wanted()
        self._began = False
        self._build: Build | None = None
        self._lines = Lines()
        self._leaving = self._ending = False
        self._room = threading.Event()
        self._over = threading.Event()
        self._bell, self._ear = (os.fdopen(fd, mode, 0) for fd, mode in zip(_pipe(), ("wb", "rb"), strict=True))
        self.lanes: Sequence[Lane[Record]] = ()
        # A daemon: whatever it waits for, it never keeps a control plane from leaving.
        try:
            threading.Thread(target=self._run, name="output", daemon=True).start()
        except RuntimeError:
            self._hang_up()
            raise

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    @property
    def _stops(self) -> bool:
        return self._leaving or self._ending

    def follow(self, queues: Set[str], every: bool, from_start: bool) -> None:
        """Reads these from now on; where they are the first ones, and `from_start`, what they have written as well."""
        self._wanted = _Wanted(queues, every, from_start)
        self._ring()

    def send_by(self, build: Build, life: Callable[[int], Context] | None = None) -> None:
        """What is read leaves by the lanes that are built, in the thread. `life` is as in `Lines`."""
        self._build, self._lines = build, Lines(life)
        self._ring()

    def leave(self) -> None:
        """Ends; what the keeper has not sent yet is kept for the next control plane."""
        self._leaving = True
        self._ring()

    def end(self) -> None:
        """Ends; nothing is kept for anybody."""
        self._ending = True
        self._ring()

    def _ring(self) -> None:
        self._room.set()
        # Otherwise it is rung already, or nobody hears it any more.
        with suppress(OSError, ValueError):
            self._bell.write(b"\0")

    # --- in the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stops:
                pause = None
                try:
                    self._converse()
                except (OSError, ValueError):
                    pause = _AGAIN
                if not self._stops:
                    self._listen(None, pause)
        except Exception as error:
            # Nobody else would hear of it.
            self._ending = True
            self._say(f"procq failed to read it ({type(error).__name__}: {error})")
        finally:
            self._hang_up()

    def _hang_up(self) -> None:
        self._over.set()
        self._ear.close()
        self._bell.close()

    def _converse(self) -> None:
        """Asks and reads until nothing is wanted any more. Raises OSError where the keeper is not there."""
        if not self._wanted.queues:
            return
        link, self._asked = connect(self._path), _Wanted()
        try:
            self._ask(link)
            while self._asked.queues and not self._stops:
                self._get_lanes()
                if self._listen(link if self.lanes else None):
                    self._hear(link)
                self._ask(link)
            self._say_goodbye(link)
        finally:
            link.close()

    def _ask(self, link: Link) -> None:
        """Says what is wanted, if that is news."""
        wanted = self._wanted
        if wanted is not self._asked:
            link.send([wanted.request(not self._began) if wanted.queues else _NOBODY])
            self._asked, self._began = wanted, True

    def _get_lanes(self) -> None:
        if self._build is not None:
            build, self._build = self._build, None
            self.lanes = build(self._room.set)
            # Without one nothing will ever leave.
            self._ending |= not self.lanes

    def _listen(self, link: Link | None, pause: float | None = None) -> bool:
        """Waits until there is something to read, or something has changed. Whether it is the first."""
        poller = select.poll()
        poller.register(self._ear, select.POLLIN)
        if link is not None:
            poller.register(link.fileno(), select.POLLIN)
        ready = {fd for fd, _ in poller.poll(None if pause is None else pause * 1000)}
        if self._ear.fileno() in ready:
            self._ear.read(64)
        return link is not None and link.fileno() in ready

    def _say_goodbye(self, link: Link) -> None:
        if self._ending:
            link.send([_NOBODY])
        elif self.lanes and self._asked.queues:
            # The answer to the second comes after all that was sent before the first was read.
            link.send([_LEAVE, {"t": "info"}])
            while self._hear(link):
                self._listen(link)

    def _hear(self, link: Link) -> bool:
        """Takes what has come. False once the keeper has said that nothing more will."""
        for reply in link.drain():
            match reply["t"]:
                case "output":
                    self._take(Piece.of(reply), link)
                case "gap":
                    # A keeper of an earlier version does not count lines: at least one is missing.
                    for lane in self.lanes:
                        lane.miss(reply.get("lines") or 1)
                case "info":
                    return False
        return True

    def _take(self, piece: Piece, link: Link) -> None:
        # A pattern that is the name of a queue may be the name of a worker of another one too.
        if piece.queue not in self._wanted.queues:
            return
        for record in self._lines.records(piece, time.time()):
            self._wait_for_room(link)
            for lane in self.lanes:
                lane.put(record)

    def _wait_for_room(self, link: Link) -> None:
        """While nothing leaves nothing is read: the keeper counts what is too much, and no time is spent on it."""
        while not (self._stops or any(lane.has_room for lane in self.lanes)):
            self._room.wait()
            self._room.clear()
            self._ask(link)


def _pipe() -> tuple[int, int]:
    """The end to write to, and the end to read from; neither makes anybody wait."""
    ear, bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    return bell, ear
