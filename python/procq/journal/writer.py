"""Writes the journal: never waits for a disk, never fails, does nothing until there is something to write."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from procq.journal.record import Bounds, Entry, JournalUnreadable, Past, Record, Sample
from procq.wire import EventView

if TYPE_CHECKING:
    from procq.journal.store import Row, Store

T = TypeVar("T")
SAMPLE_EVERY: Final = 10.0
"""Seconds between two samples of a queue, at least."""
SAME_EVERY: Final = 60.0
"""Seconds between two samples that say the same."""
_GATHER: Final = 1.0
"""Seconds for which rows come together before they are written."""
_AT_ONCE: Final = 0.002
"""The same for events: who is killed takes along what is not written yet."""
_SOON: Final = 0.1
"""And for events where it has been written so often in the last second:"""
_OFTEN: Final = 20
_PATIENCE: Final = 5.0
"""Seconds to wait for an answer."""
_BATCH: Final = 1_000
_PENDING: Final = 10_000
"""Rows that wait to be written; where the disk is slower than that, the oldest are lost."""
_AGAIN: Final = (30.0, 60.0, 300.0, 600.0)
"""Seconds until it is tried again after a failure, and the next ones."""
_QUEUES: Final = 10_000
"""Queues whose last sample is remembered; after that it begins anew."""
_TOLD: Final = 20
"""Different troubles that are told."""
_USUAL: Final = Bounds()


class Journal:
    """The journal of one control plane, for one thread: that of its loop.

    Nothing here raises or blocks. Where the file cannot be written, rows are lost and counted (`lost`), and `tell` is
    called once for each kind of trouble, with a sentence for a person, from within `add`, `sample` or `close`.
    """

    def __init__(
        self,
        path: Path,
        bounds: Bounds = _USUAL,
        *,
        tell: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.time,
        gather: float = _GATHER,
    ) -> None:
        self._tell = tell
        self._pending: deque[Row] = deque(maxlen=_PENDING)
        self._samples: dict[str, Sample] = {}
        self._writer = _Writer(path, bounds, self._pending, clock, gather)
        self._told: set[str] = set()
        self._closed = False
        self._overflowed = 0

    @property
    def lost(self) -> int:
        """Rows that could not be written."""
        return self._writer.lost + self._overflowed

    def add(self, record: Record) -> None:
        """Takes note of a decision."""
        self._put(record)

    def event(self, entry: Entry) -> None:
        """Takes note of an event, which is written sooner than the rest."""
        self._put(entry, soon=True)

    async def past(self, keeper: int, timeout: float = 1.0) -> Past:
        """What the journal knows of before. Nothing where it cannot say so within `timeout` seconds."""
        answer = self._writer.ask(lambda store: store.past(keeper))
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.wrap_future(answer)
        except (TimeoutError, JournalUnreadable):
            return Past()
        finally:
            self._say()

    def page(self, after: int, before: int, *, newest: bool = False) -> list[EventView]:
        """As `procq.journal.reader.events`, and for any thread but that of the loop: it waits.

        Another connection of this process would leave a descriptor behind for as long as this one lives.
        """
        try:
            return self._writer.ask(lambda store: store.page(after, before, newest)).result(_PATIENCE)
        except TimeoutError:
            raise JournalUnreadable("The journal does not answer.") from None

    def sample(
        self,
        at: float,
        queue: str,
        waiting: float | None,
        workers: int,
        busy: int | None,
        wait: float | None,
        started: int | None = None,
    ) -> None:
        """Takes note of what a queue is like, unless the last time was less than `SAMPLE_EVERY` ago.

        Where nothing has changed since then, once in `SAME_EVERY`.
        """
        last, sample = self._samples.get(queue), Sample(at, queue, waiting, workers, busy, wait, started)
        if last is not None and 0 <= at - last.at < (SAME_EVERY if _same(last, sample) else SAMPLE_EVERY):
            return
        if len(self._samples) >= _QUEUES:
            self._samples.clear()
        self._samples[queue] = sample
        self._put(sample)

    async def close(self, timeout: float = 5.0) -> None:
        """Writes what is left, for no longer than `timeout` seconds. After that nothing is taken any more."""
        self._closed = True
        await self._writer.stop(timeout)
        self._say()

    def _put(self, row: Row, *, soon: bool = False) -> None:
        if self._closed:
            return
        self._overflowed += len(self._pending) == _PENDING
        self._pending.append(row)
        self._writer.wake(soon=soon)
        self._say()

    def _say(self) -> None:
        while self._writer.news:
            text = self._writer.news.popleft()
            if text not in self._told and len(self._told) < _TOLD:
                self._told.add(text)
                self._tell(text)


def _same(one: Sample, other: Sample) -> bool:
    return replace(one, at=0.0) == replace(other, at=0.0)


class _Writer:
    """The thread, which begins with the first row. `lost` and `news` are for the other side to read."""

    def __init__(
        self, path: Path, bounds: Bounds, pending: deque[Row], clock: Callable[[], float], gather: float
    ) -> None:
        self._path, self._bounds, self._pending, self._clock, self._gather = path, bounds, pending, clock, gather
        self._thread: threading.Thread | None = None
        self._wake, self._stop = threading.Event(), threading.Event()
        self._noticed = self._hurried = False
        self._asked: deque[Callable[[], None]] = deque()
        self._written: deque[float] = deque([-math.inf], maxlen=_OFTEN)
        self._store: Store | None = None
        self._failures = 0
        self.lost = 0
        self.news: deque[str] = deque(maxlen=_TOLD)

    def wake(self, *, soon: bool = False) -> None:
        """There are rows; `soon`: some that are to be written soon."""
        # The thread is not woken for each of them, only to find that they may wait.
        if not self._noticed or (soon and not self._hurried):
            self._noticed, self._hurried = True, self._hurried or soon
            self._call()

    def ask(self, question: Callable[[Store], T]) -> Future[T]:
        """What the thread answers to that, about the open file. It may fail with JournalUnreadable."""
        answer: Future[T] = Future()

        def act() -> None:
            try:
                self._store = self._store or self._open()
                found = question(self._store)
            except Exception as error:  # as for writing
                self._fail(error)
                answer.set_exception(JournalUnreadable(f"The journal {self._path} cannot be read: {error}."))
            else:
                answer.set_result(found)

        # A caller that has given up meanwhile is not told.
        self._asked.append(lambda: act() if answer.set_running_or_notify_cancel() else None)
        if self._stop.is_set():
            answer.cancel()
        else:
            self._call()
        return answer

    def _call(self) -> None:
        if self._thread is None:
            # A daemon: a disk that hangs keeps no process from ending.
            thread = threading.Thread(target=self._run, name="procq-journal", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                self.news.append(f"the journal cannot be written, procq goes on without it: {error}")
                return
            self._thread = thread
        self._wake.set()

    async def stop(self, timeout: float) -> None:
        """Waits until it has written the rest."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, timeout)

    def _run(self) -> None:
        due: float | None = None
        while not self._stop.is_set():
            self._wake.wait(None if due is None else max(0.0, due - time.monotonic()))
            self._wake.clear()
            while self._asked:
                self._asked.popleft()()
            due = self._due(due)
            if due is not None and (due <= time.monotonic() or self._stop.is_set()):
                due = self._write_all()
        self._write_all()
        self.lost += len(self._pending)
        self._close()

    def _due(self, due: float | None) -> float | None:
        """When rows that wait are to be written, where it has been `due` so far. Rows come together until then."""
        if not self._pending:
            self._noticed = self._hurried = False
            # Looked at again, as a row that has come just before that has woken nobody.
            if not self._pending:
                return None
        if self._failures:
            return due if due is not None else time.monotonic() + _AGAIN[min(self._failures, len(_AGAIN)) - 1]
        now, wait = time.monotonic(), self._gather
        if self._hurried:
            busy = len(self._written) == _OFTEN and now - self._written[0] < 1.0
            wait = min(wait, _SOON if busy else _AT_ONCE)
        return min(now + wait, math.inf if due is None else due)

    def _write_all(self) -> float | None:
        """Writes what waits. When it is to be tried again, where that is so."""
        self._noticed = self._hurried = False
        while self._pending:
            if not self._write():
                # Whether there are new rows until then or not.
                return time.monotonic() + _AGAIN[min(self._failures, len(_AGAIN)) - 1]
        return None

    def _fail(self, error: Exception) -> None:
        self._failures += 1
        self.news.append(f"the journal cannot be written, procq goes on without it: {self._path}: {error}")
        self._close()

    def _write(self) -> bool:
        batch = [self._pending.popleft() for _ in range(min(len(self._pending), _BATCH))]
        try:
            self._store = self._store or self._open()
            self._store.write(batch, self._clock())
        except Exception as error:  # whatever it is: nobody scales worse for want of a journal
            self.lost += len(batch)
            self._fail(error)
            return False
        self._failures = 0
        self._written.append(time.monotonic())
        if self._store.aside is not None:
            self.news.append(f"the journal could not be read and begins anew; the old one is {self._store.aside}")
            self._store.aside = None
        return True

    def _open(self) -> Store:
        # In the thread: nobody waits for SQLite to be loaded, and the workers are started before it is.
        from procq.journal.store import Store

        return Store(self._path, self._bounds)

    def _close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            try:
                store.close()
            except Exception as error:
                self.news.append(f"the journal could not be closed: {self._path}: {error}")
