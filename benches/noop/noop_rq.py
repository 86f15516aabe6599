"""RQ, whose adapter is a class of workers that the command names."""

from __future__ import annotations

import os

from redis import Redis
from rq import Queue
from stamp import stamp


def work() -> None:
    stamp()


def send(jobs: int) -> None:
    queue = Queue("work", connection=Redis(unix_socket_path=os.environ["REDIS_SOCKET"]))
    queue.enqueue_many([Queue.prepare_data(work, result_ttl=0) for _ in range(jobs)])
