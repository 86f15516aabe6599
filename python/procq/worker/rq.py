"""RQ: `rq worker --worker-class procq.worker.rq.Worker QUEUE`, or `SimpleWorker`.

A worker class of your own gets it from `Speaks`: `class MyWorker(Speaks, rq.worker.Worker)`.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import rq.worker
from rq.job import JobStatus

from procq import worker

_LOOK: Final = 1.0
"""Seconds for which a worker waits for a job, or parked, before it looks whether it is to do something else."""
_BEAT: Final = 30.0
"""Seconds between two heartbeats of a parked worker."""
_UNKNOWN, _DONE, _FAILED, _RETRIED = range(4)


class Speaks:
    """What makes a worker of RQ speak: to be put before RQ's own class."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._may_go = threading.Event()
        self._may_go.set()
        self._has_job = False
        # Shared with the work horse, which knows how its job ended.
        self._outcome = mmap.mmap(-1, 1)

    def bootstrap(self, *arguments: Any, **options: Any) -> None:
        """RQ calls it when it is about to take jobs."""
        super().bootstrap(*arguments, **options)  # type: ignore[misc]
        worker.can_park(self._may_go.clear, self._may_go.set)
        worker.ready()

    @property
    def dequeue_timeout(self) -> int:
        """Seconds for which it waits for a job: it has to look now and then whether it is parked."""
        return int(_LOOK)

    def heartbeat(self, *arguments: Any, **options: Any) -> None:
        """RQ calls it before it waits for a job, which is when it may rest."""
        super().heartbeat(*arguments, **options)  # type: ignore[misc]
        if not self._may_go.is_set() and not self._has_job and not self.is_horse:  # type: ignore[attr-defined]
            self._rest()

    def _rest(self) -> None:
        worker.parked()
        while not (self._may_go.wait(_BEAT) or self._stop_requested):  # type: ignore[attr-defined]
            super().heartbeat()  # type: ignore[misc]
        worker.parked(False)

    def reorder_queues(self, *arguments: Any, **options: Any) -> None:
        """RQ calls it when it has taken a job."""
        self._has_job = True
        super().reorder_queues(*arguments, **options)  # type: ignore[misc]

    def execute_job(self, job: Any, queue: Any) -> None:
        """The job is at work from here on, in this process or in its work horse."""
        self._has_job = True
        self._outcome[0] = _UNKNOWN
        with self._told(worker.job(job.id, job.func_name, worker.Origin("rq", queue.name, job.meta))):
            super().execute_job(job, queue)  # type: ignore[misc]

    @contextmanager
    def _told(self, running: worker.Running) -> Iterator[None]:
        try:
            yield
        finally:
            self._has_job = False
            end = {_DONE: running.done, _RETRIED: running.retried}.get(self._outcome[0], running.failed)
            end()

    def perform_job(self, job: Any, queue: Any, execution: Any) -> bool:
        """Does it, and leaves word of how it ended."""
        done: bool = super().perform_job(job, queue, execution)  # type: ignore[misc]
        if done:
            self._outcome[0] = _DONE
        else:
            again = job.get_status(refresh=False) in (JobStatus.QUEUED, JobStatus.SCHEDULED)
            self._outcome[0] = _RETRIED if again else _FAILED
        return done


class Worker(Speaks, rq.worker.Worker):
    """RQ's usual worker, which forks a work horse for each job."""


class SimpleWorker(Speaks, rq.worker.SimpleWorker):
    """RQ's worker without a work horse."""
