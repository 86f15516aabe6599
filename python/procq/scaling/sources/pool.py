"""Reads sources beside the event loop: a thread and a connection for each server, and one reading of it at a time.

Whoever asks at the same moment for queues of one server shares a reading, and so does whoever asks while one is under
way: all of these together are the next one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from procq.scaling.reading import Reading
from procq.scaling.sources import connect
from procq.scaling.sources.port import Connection, Kind, SourceError, rounded

if TYPE_CHECKING:
    from procq.scaling.place import Place

DEADLINE: Final = 5.0
"""Seconds after which nobody waits for an answer any longer."""
IDLE: Final = 180.0
"""Seconds without a question after which a connection is closed: breakers ask every minute."""

Connect = Callable[["Place"], Connection]
_Key = tuple["Place", float]
_Answer = Reading | SourceError


class Pool:
    """All servers. `deadline` and `idle` in seconds; `connect` makes connections."""

    def __init__(self, *, deadline: float = DEADLINE, idle: float = IDLE, connect: Connect = connect) -> None:
        self._deadline = deadline
        self._idle = idle
        self._connect = connect
        self._servers: dict[str, _Server] = {}
        self._closed = False

    async def read(self, place: Place, within: float = 0.0) -> Reading:
        """How long the queue is. Delayed jobs that are due `within` seconds count as waiting.

        Raises SourceError, of the kind TIMEOUT where the server takes longer than the deadline.
        """
        if self._closed:
            raise SourceError(Kind.OTHER, f"{place.shown}: nothing is read any more, procq is about to end")
        waiter = self._ask(place, rounded(within))
        try:
            async with asyncio.timeout(self._deadline):
                return await waiter
        except TimeoutError:
            message = f"{place.shown} has not answered within {self._deadline:g} s"
            raise SourceError(Kind.TIMEOUT, message) from None

    def _ask(self, place: Place, within: float) -> asyncio.Future[Reading]:
        server = self._servers.get(place.server)
        waiter = None if server is None else server.ask((place, within))
        if waiter is None:
            try:
                server = _Server(self._connect, self._idle, self._forget)
            except RuntimeError as error:
                raise SourceError(Kind.OTHER, f"{place.shown}: there can be no more threads: {error}") from error
            self._servers[place.server] = server
            waiter = server.ask((place, within))
            assert waiter is not None
        return waiter

    def keep(self, servers: Iterable[str]) -> None:
        """Closes the connections of all other servers."""
        for name in set(self._servers).difference(servers):
            self._servers.pop(name).leave()

    @property
    def servers(self) -> frozenset[str]:
        """The servers that have a thread."""
        return frozenset(name for name, server in self._servers.items() if not server.left)

    async def aclose(self) -> None:
        """Closes everything. Threads that are stuck are left alone; they keep no process from ending."""
        self._closed = True
        servers = list(self._servers.values())
        self.keep(())
        waits = [asyncio.ensure_future(server.gone.wait()) for server in servers]
        if waits:
            _, stuck = await asyncio.wait(waits, timeout=1.0)
            for each in stuck:
                each.cancel()

    def _forget(self, server: _Server) -> None:
        for name, known in list(self._servers.items()):
            if known is server:
                del self._servers[name]


class _Server:
    """One server, its thread, and who waits for what of it. All but `_run` and what it calls is on the loop."""

    def __init__(self, connect: Connect, idle: float, forget: Callable[[_Server], None]) -> None:
        self._connect = connect
        self._idle = idle
        self._forget = forget
        self._loop = asyncio.get_running_loop()
        self._asked: dict[_Key, list[asyncio.Future[Reading]]] = {}
        self._sent: dict[_Key, list[asyncio.Future[Reading]]] | None = None
        self._soon = False
        self._job: Sequence[_Key] = ()
        self._condition = threading.Condition()
        self._wanted = True
        """Whether somebody has asked, or is about to: the thread stays."""
        self.left = False
        """Whether its thread takes nothing any more."""
        self.gone = asyncio.Event()
        threading.Thread(target=self._run, name="source", daemon=True).start()

    def ask(self, key: _Key) -> asyncio.Future[Reading] | None:
        """What will be its answer; None where its thread has ended for want of questions."""
        with self._condition:
            if self.left:
                return None
            self._wanted = True
        waiter: asyncio.Future[Reading] = self._loop.create_future()
        # While the thread is stuck they come and give up: no more than one of each stays.
        waiters = [each for each in self._asked.get(key, ()) if not each.done()]
        self._asked[key] = [*waiters, waiter]
        if not self._soon:
            # A turn later: others who ask now belong to the same reading.
            self._soon = True
            self._loop.call_soon(self._send)
        return waiter

    def leave(self) -> None:
        """Nobody waits for it any more; its thread closes the connection and ends, as soon as it can."""
        with self._condition:
            self.left = True
            self._condition.notify()
        error = SourceError(Kind.OTHER, "the connection is closed, as nobody needs it any more")
        self._fail(self._asked, error)
        self._fail(self._sent or {}, error)
        self._asked = {}

    def _send(self) -> None:
        self._soon = False
        if self._sent is not None:
            return
        # Who has given up waiting is not asked for.
        asked = {key: waiters for key, waiters in self._asked.items() if not all(each.done() for each in waiters)}
        self._asked = {}
        with self._condition:
            self._wanted = bool(asked)
            if asked:
                self._job, self._sent = tuple(asked), asked
            self._condition.notify()

    def _answered(self, answers: dict[_Key, _Answer]) -> None:
        sent, self._sent = self._sent or {}, None
        for key, waiters in sent.items():
            answer = answers[key]
            if isinstance(answer, SourceError):
                self._fail({key: waiters}, answer)
                continue
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(answer)
        self._send()

    def _fail(self, asked: dict[_Key, list[asyncio.Future[Reading]]], error: SourceError) -> None:
        for waiter in (waiter for waiters in asked.values() for waiter in waiters):
            if not waiter.done():
                waiter.set_exception(error)

    def _ended(self) -> None:
        self.gone.set()
        self._forget(self)

    # --- in the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        connection: Connection | None = None
        try:
            while (job := self._next()) is not None:
                answers: dict[_Key, _Answer] = {}
                try:
                    connection = connection or self._connect(job[0][0])
                    answers = _read(connection, job)
                except SourceError as error:
                    answers = dict.fromkeys(job, error)
                except Exception as error:  # a fault of a source must not end its thread
                    message = f"{job[0][0].where}: {type(error).__name__}: {error}"
                    answers = dict.fromkeys(job, SourceError(Kind.OTHER, message))
                self._tell(lambda answers=answers: self._answered(answers))  # type: ignore[misc]
        finally:
            if connection is not None:
                with suppress(Exception):
                    connection.close()
            self._tell(self._ended)

    def _next(self) -> Sequence[_Key] | None:
        """What is to be read next; None when there will be nothing."""
        with self._condition:
            while not self._job and not self.left:
                if not self._condition.wait(self._idle) and not self._wanted:
                    self.left = True
            job, self._job = self._job, ()
            return None if self.left else job

    def _tell(self, what: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(what)


def _read(connection: Connection, job: Sequence[_Key]) -> dict[_Key, _Answer]:
    answers: dict[_Key, _Answer] = {}
    for within in dict.fromkeys(within for _, within in job):
        keys = [key for key in job if key[1] == within]
        found = connection.read([place for place, _ in keys], within)
        answers |= zip(keys, found, strict=True)
    return answers
