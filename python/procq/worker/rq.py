"""RQ: `rq worker --worker-class procq.worker.rq.Worker QUEUE`, or `SimpleWorker`.

A worker class of your own gets it from `Speaks`: `class MyWorker(Speaks, rq.worker.Worker)`.
"""

from __future__ import annotations

import mmap
import threading
from typing import Any, Final

import rq.worker
from rq.job import JobStatus

from procq import worker

_LOOK: Final = 1.0
"""Seconds for which a worker waits for a job, or parked, before it looks whether it is to do something else."""
_BEAT: Final = 30.0
"""Seconds between two heartbeats of a parked worker."""
_DONE, _FAILED, _RETRIED = range(3)


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
        # Nothing here that need not be: after each fork, what is touched first costs a page fault.
        self._has_job = True
        self._outcome[0] = _DONE
        # Not from its data: that may be unreadable, and reading imports here what each work horse is to import anew.
        name = (job.description or "").partition("(")[0]
        running = worker.Running(job.id, name, ("rq", queue.name, job.meta))
        try:
            super().execute_job(job, queue)  # type: ignore[misc]
        except BaseException:
            self._outcome[0] = self._outcome[0] or _FAILED
            raise
        finally:
            self._has_job = False
            outcome = self._outcome[0]
            running.end(failed=outcome == _FAILED, retried=outcome == _RETRIED)

    def handle_job_failure(self, job: Any, *arguments: Any, **options: Any) -> None:
        """RQ calls it where the job has failed, and in the worker where its work horse has died."""
        self._outcome[0] = _FAILED
        super().handle_job_failure(job, *arguments, **options)  # type: ignore[misc]
        self._see(job)

    def handle_job_retry(self, job: Any, *arguments: Any, **options: Any) -> None:
        """RQ calls it where the job returned that it is to be tried again."""
        super().handle_job_retry(job, *arguments, **options)  # type: ignore[misc]
        self._see(job)

    def _see(self, job: Any) -> None:
        again = job.get_status(refresh=False) in (JobStatus.QUEUED, JobStatus.SCHEDULED)
        self._outcome[0] = _RETRIED if again else _FAILED


class Worker(Speaks, rq.worker.Worker):
    """RQ's usual worker, which forks a work horse for each job."""


class SimpleWorker(Speaks, rq.worker.SimpleWorker):
    """RQ's worker without a work horse."""
