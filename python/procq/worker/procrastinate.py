"""Procrastinate: `procq.worker.procrastinate.install()` in the module of your `App`, and its worker as ever.

A program that makes its worker itself takes `procq.worker.procrastinate.Worker` for it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final

import procrastinate.worker
from procrastinate.jobs import Status

from procq import worker
from procq.worker import Origin, Running
from procq.worker.aio import Attempt, Gate, Take, stand_before

_take: Final[ContextVar[Take | None]] = ContextVar("procq_procrastinate_take", default=None)
_attempt: Final[ContextVar[Attempt | None]] = ContextVar("procq_procrastinate_attempt", default=None)


def install() -> None:
    """The workers that an `App` makes speak, if a procq runs them."""
    if worker.heard():
        procrastinate.worker.Worker = Worker


class Worker(procrastinate.worker.Worker):
    """Procrastinate's worker, which speaks."""

    _gate: Gate | None = None

    async def run(self) -> None:
        """Procrastinate calls it once its database is there."""
        _take.set(self._fetch)
        stand_before(self.app.job_manager, "fetch_job", _take)
        await super().run()

    async def _fetch(self, fetch_job: Any, *, queues: Any, worker_id: int) -> Any:
        gate = self._gate or self._begin()
        if not await gate.passes(self._stop_event):
            return None
        with gate.taking():
            job = await fetch_job(queues=queues, worker_id=worker_id)
            if job is not None:
                gate.took()
        return job

    def _begin(self) -> Gate:
        self._gate = gate = Gate.listening()
        worker.ready()
        return gate

    async def _process_job(self, context: Any) -> None:
        assert self._gate is not None
        # Where Procrastinate cannot write down how it has ended it will not be tried again.
        attempt = Attempt(self._gate, Running.failed, origin=Origin("procrastinate", context.job.queue))
        attempt.begin(context.job.id, context.job.task_name)
        _attempt.set(attempt)
        try:
            await super()._process_job(context)
        finally:
            attempt.end()

    async def _persist_job_status(self, *, job: Any, status: Status, retry_decision: Any, **more: Any) -> None:
        await super()._persist_job_status(job=job, status=status, retry_decision=retry_decision, **more)
        if (attempt := _attempt.get()) is not None:
            succeeded = Running.done if status == Status.SUCCEEDED else Running.failed
            attempt.outcome = Running.retried if retry_decision else succeeded
