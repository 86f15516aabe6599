"""arq: `procq.worker.arq.install()` in the module of your `WorkerSettings`, and `arq jobs.WorkerSettings` as ever.

A program that makes its worker itself takes `procq.worker.arq.Worker` for it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from typing import Any, Final

import arq.worker

from procq import worker
from procq.worker import Origin, Running
from procq.worker.aio import Attempt, Gate

_attempt: Final[ContextVar[Attempt | None]] = ContextVar("procq_arq_attempt", default=None)


def install() -> None:
    """The worker that `arq` makes speaks, if a procq runs it."""
    if worker.heard():
        arq.worker.Worker = Worker


class _Counter:
    """One of arq's own counts. arq raises it in the task of the job, which has ended that way then."""

    def __init__(self, outcome: Callable[[Running], None]) -> None:
        self._outcome = outcome

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else instance.__dict__[self._name]

    def __set__(self, instance: Any, value: int) -> None:
        instance.__dict__[self._name] = value
        if (attempt := _attempt.get()) is not None:
            attempt.outcome = self._outcome


class _Functions(dict[str, Any]):
    """arq looks here for the function of a job as soon as it knows its name."""

    def __getitem__(self, name: str) -> Any:
        if (attempt := _attempt.get()) is not None:
            attempt.begin(attempt.id, name)
        return super().__getitem__(name)


class Worker(arq.worker.Worker):
    """arq's worker, which speaks."""

    jobs_complete = _Counter(Running.done)
    jobs_failed = _Counter(Running.failed)
    jobs_retried = _Counter(Running.retried)
    functions: dict[str, Any]
    _gate: Gate | None = None
    _origin: Origin | None = None

    async def start_jobs(self, job_ids: Sequence[bytes]) -> None:
        """Takes those of these jobs that are still there. The first call comes when arq has found its Redis."""
        gate = self._gate or self._begin()
        for job_id in job_ids:
            if not gate.is_open or self.job_counter >= self.max_jobs:
                return
            with gate.taking():
                await super().start_jobs([job_id])

    def _begin(self) -> Gate:
        self._gate = gate = Gate.listening()
        self._origin = Origin("arq", self.queue_name)
        self.functions = _Functions(self.functions)
        worker.ready()
        return gate

    def run_job(self, job_id: str, score: int) -> Coroutine[Any, Any, None]:
        """Begins a job as soon as it was taken: arq makes a task of what this returns."""
        if self._gate is None:
            own: Coroutine[Any, Any, None] = super().run_job(job_id, score)
            return own
        self._gate.took()
        # Where arq counts nothing it has not written down an end either: the job will be done again.
        return self._tell(Attempt(self._gate, Running.retried, job_id, self._origin), job_id, score)

    async def _tell(self, attempt: Attempt, job_id: str, score: int) -> None:
        _attempt.set(attempt)
        try:
            await super().run_job(job_id, score)
        finally:
            attempt.end()
