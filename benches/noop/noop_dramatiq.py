"""Dramatiq on Redis."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from stamp import SPEAK, stamp

broker = RedisBroker(url=f"unix://{os.environ['REDIS_SOCKET']}")
if SPEAK:
    import procq.worker.dramatiq

    broker.add_middleware(procq.worker.dramatiq.Middleware())
dramatiq.set_broker(broker)


@dramatiq.actor
def work() -> None:
    stamp()


def send(jobs: int) -> None:
    for _ in range(jobs):
        work.send()
