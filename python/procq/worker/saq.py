"""SAQ: `procq.worker.saq.install()` in the module of your settings, and `saq jobs.settings` as ever.

A program that makes its worker itself takes `procq.worker.saq.Worker` for it. A worker whose queue is on Redis takes no
more jobs when it is to leave, and leaves when those it has are done. One on PostgreSQL or HTTP is counted, but gets its
stop signal at once: give it a `shutdown_grace_period_s`. Let the queue have more workers rather than `saq --workers`:
SAQ does not pass its stop signal on.
"""

from __future__ import annotations

import asyncio
import math
from contextvars import ContextVar
from typing import Any, Final

import saq.worker
from saq.job import Status

from procq import worker
from procq.worker import Origin, Running
from procq.worker.aio import Gate, Take, stand_before

_LOOK: Final = 1
"""Seconds for which it waits for a job before it looks whether it is to rest."""
_ENDS: Final = {Status.COMPLETE: Running.done, Status.FAILED: Running.failed, Status.ABORTED: Running.failed}
_take: Final[ContextVar[Take | None]] = ContextVar("procq_saq_take", default=None)


def install() -> None:
    """The worker that `saq` makes speaks, if a procq runs it."""
    if worker.heard():
        saq.worker.Worker = Worker


class Worker(saq.worker.Worker):
    """SAQ's worker, which speaks."""

    _gate: Gate | None = None
    _ready = False

    async def upkeep(self) -> Any:
        """SAQ calls it when it is about to take jobs."""
        stand_before(self.queue, "dequeue", _take)
        if type(self.queue).dequeue.__qualname__ == "RedisQueue.dequeue":
            self._gate = Gate.listening()
        return await super().upkeep()

    async def schedule(self, lock: int = 1) -> None:
        """SAQ calls it once a second, and first when it begins to take jobs: it has found its broker then."""
        await super().schedule(lock)
        if not self._ready:
            self._ready = True
            worker.ready()

    async def process(self) -> bool:
        """Takes a job, and does it."""
        look = _Look(self._gate, self.event)
        _take.set(look.take)
        try:
            worked: bool = await super().process()
            return worked
        finally:
            look.end()


class _Look:
    """One look for a job, and what becomes of that."""

    def __init__(self, gate: Gate | None, stop: asyncio.Event) -> None:
        self._gate = gate
        self._stop = stop
        self._job: Any = None
        self._running: Running | None = None

    async def take(self, dequeue: Any, timeout: float = 0.0, poll_interval: float = 0.0) -> Any:
        """A job, or None after `timeout` seconds; 0 is for ever."""
        if self._gate is None:
            self._begin(await dequeue(timeout=timeout, poll_interval=poll_interval))
            return self._job
        left = timeout or math.inf
        while self._job is None and left > 0 and await self._gate.passes(self._stop):
            with self._gate.taking():
                self._begin(await dequeue(timeout=min(_LOOK, left), poll_interval=poll_interval))
            left = 0 if self._stop.is_set() else left - _LOOK
        return self._job

    def _begin(self, job: Any) -> None:
        if job is not None:
            origin = Origin("saq", job.queue.name, job.meta)
            self._job, self._running = job, Running(job.key, job.function, origin)

    def end(self) -> None:
        """It is over. A job that is at no end, and not queued again either, is done again when SAQ finds it."""
        if self._running is not None:
            _ENDS.get(self._job.status, Running.retried)(self._running)
