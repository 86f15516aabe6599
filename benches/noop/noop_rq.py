"""RQ, whose adapter is a class of workers that the command names.

A job of RQ takes milliseconds, and two runs differ by more than an adapter costs. So one worker does some jobs with it
and some without it, in turns: what differs then is the adapter.
"""

from __future__ import annotations

import os
from typing import Any

from redis import Redis
from rq import Queue
from stamp import TURN, stamp

from procq.worker import rq as adapter


def work() -> None:
    stamp()


def send(jobs: int) -> None:
    queue = Queue("work", connection=Redis(unix_socket_path=os.environ["REDIS_SOCKET"]))
    queue.enqueue_many([Queue.prepare_data(work, result_ttl=0) for _ in range(jobs)])


class InTurns:
    """Before a class of the adapter: passes by it in every other turn."""

    _ended = 0

    def _next(self) -> Any:
        speaks = self._ended // TURN % 2 == 0
        return super() if speaks else super(adapter.Speaks, self)

    def heartbeat(self, *arguments: Any, **options: Any) -> None:
        """Before each look for a job."""
        self._next().heartbeat(*arguments, **options)

    def reorder_queues(self, *arguments: Any, **options: Any) -> None:
        """A job was taken."""
        self._next().reorder_queues(*arguments, **options)

    def execute_job(self, job: Any, queue: Any) -> None:
        """It begins."""
        self._next().execute_job(job, queue)
        self._ended += 1

    def perform_job(self, *arguments: Any) -> bool:
        """In the work horse."""
        done: bool = self._next().perform_job(*arguments)
        return done


class Worker(InTurns, adapter.Worker):
    """With a work horse for each job."""


class SimpleWorker(InTurns, adapter.SimpleWorker):
    """Without."""
