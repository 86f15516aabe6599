"""Huey on Redis."""

from __future__ import annotations

import os

from huey import RedisHuey
from stamp import SPEAK, stamp

queue = RedisHuey("work", url=f"unix://{os.environ['REDIS_SOCKET']}", results=False)
if SPEAK:
    import procq.worker.huey

    procq.worker.huey.install(queue)


@queue.task()
def work() -> None:
    stamp()


def send(jobs: int) -> None:
    for _ in range(jobs):
        work()
