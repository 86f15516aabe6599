"""Celery on Redis."""

from __future__ import annotations

import os

from celery import Celery
from stamp import SPEAK, stamp

app = Celery("noop_celery", broker=f"redis+socket://{os.environ['REDIS_SOCKET']}")
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True
if SPEAK:
    from procq.worker.celery import install

    install(app)


@app.task
def work() -> None:
    stamp()


def send(jobs: int) -> None:
    for _ in range(jobs):
        work.delay()
