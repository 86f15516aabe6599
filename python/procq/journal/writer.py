"""Writes the journal: never waits for a disk, never fails, does nothing until there is something to write."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from procq.journal.record import Bounds, Entry, Past, Record, Sample

if TYPE_CHECKING:
    from procq.journal.store import Row, Store

SAMPLE_EVERY: Final = 10.0
"""Seconds between two samples of a queue, at least."""
SAME_EVERY: Final = 60.0
"""Seconds between two samples that say the same."""
_GATHER: Final = 1.0
"""Seconds for which rows come together before they are written."""
_SOON: Final = 0.1
"""The same for events: who is killed takes along what is not written yet."""
_AT_ONCE: Final = 0.005
"""And for the first events after a while."""
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
        self._put(entry)
        self._writer.hurry()

    async def past(self, keeper: int, timeout: float = 1.0) -> Past:
        """What the journal knows of before. Nothing where it cannot say so within `timeout` seconds."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Past] = loop.create_future()

        def settle(past: Past) -> None:
            if not answer.done():
                answer.set_result(past)

        def tell(past: Past) -> None:
            # The loop may be gone meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, past)

        self._writer.ask(keeper, tell)
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            return Past()
        finally:
            self._say()

    def sample(
        self, at: float, queue: str, waiting: float | None, workers: int, busy: int | None, wait: float | None
    ) -> None:
        """Takes note of what a queue is like, unless the last time was less than `SAMPLE_EVERY` ago.

        Where nothing has changed since then, once in `SAME_EVERY`.
        """
        last, sample = self._samples.get(queue), Sample(at, queue, waiting, workers, busy, wait)
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

    def _put(self, row: Row) -> None:
        if self._closed:
            return
        self._overflowed += len(self._pending) == _PENDING
        self._pending.append(row)
        self._writer.wake()
        self._say()

    def _say(self) -> None:
        while self._writer.news:
            text = self._writer.news.popleft()
            if text not in self._told and len(self._told) < _TOLD:
                self._told.add(text)
                self._tell(text)


def _same(one: Sample, other: Sample) -> bool:
    return (one.waiting, one.workers, one.busy, one.wait) == (other.waiting, other.workers, other.busy, other.wait)


class _Writer:
    """The thread, which begins with the first row. `lost` and `news` are for the other side to read."""

    def __init__(
        self, path: Path, bounds: Bounds, pending: deque[Row], clock: Callable[[], float], gather: float
    ) -> None:
        self._path, self._bounds, self._pending, self._clock, self._gather = path, bounds, pending, clock, gather
        self._thread: threading.Thread | None = None
        self._rows, self._stop, self._hurry = threading.Event(), threading.Event(), threading.Event()
        self._asked: tuple[int, Callable[[Past], None]] | None = None
        self._wrote = 0.0
        self._store: Store | None = None
        self._failures = 0
        self.lost = 0
        self.news: deque[str] = deque(maxlen=_TOLD)

    def wake(self) -> None:
        """There are rows."""
        if self._thread is None:
            # A daemon: a disk that hangs keeps no process from ending.
            self._thread = threading.Thread(target=self._run, name="procq-journal", daemon=True)
            self._thread.start()
        self._rows.set()

    def hurry(self) -> None:
        """Some of the rows are to be written soon."""
        self._hurry.set()

    def ask(self, keeper: int, tell: Callable[[Past], None]) -> None:
        """Has `tell` called from the thread, with what is known of before."""
        self._asked = keeper, tell
        self.wake()

    async def stop(self, timeout: float) -> None:
        """Waits until it has written the rest."""
        self._stop.set()
        self._hurry.set()
        self._rows.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._rows.wait()
            self._answer()
            self._rest()
            self._rows.clear()
            while self._pending:
                if not self._write():
                    # To be tried again, whether there are new rows until then or not.
                    self._rows.set()
                    break
        self.lost += len(self._pending)
        self._close()

    def _rest(self) -> None:
        """Lets rows come together."""
        if self._failures:
            self._stop.wait(_AGAIN[min(self._failures, len(_AGAIN)) - 1])
        elif self._hurry.wait(self._gather):
            self._stop.wait(min(self._gather, _SOON if time.monotonic() - self._wrote < _GATHER else _AT_ONCE))
        self._hurry.clear()

    def _answer(self) -> None:
        """Says what is known of before, if somebody has asked."""
        asked, self._asked = self._asked, None
        if asked is None:
            return
        keeper, tell = asked
        past = Past()
        try:
            self._store = self._store or self._open()
            past = self._store.past(keeper)
        except Exception as error:
            self._fail(error)
        tell(past)

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
        self._failures, self._wrote = 0, time.monotonic()
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
