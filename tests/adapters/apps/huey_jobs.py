"""Jobs for Huey, on the storage that HUEY_STORAGE names."""

from __future__ import annotations

import os
import time

import ledger
from huey import RedisHuey, SqliteHuey
from huey.exceptions import CancelExecution

import procq.worker.huey

storage = os.environ["HUEY_STORAGE"]
queue = RedisHuey("work", url=storage) if storage.startswith("unix:") else SqliteHuey("work", filename=storage)
procq.worker.huey.install(queue)
TAKES = 0.05  # seconds: eight of them at a time are not to be done before the second half of the trial


@queue.task(context=True)
def work(job: int, task=None) -> None:
    again = ledger.retries(job) and not ledger.fails(job)
    ledger.before(job, 1 if again and task.retries else 2)
    time.sleep(TAKES)
    ledger.after(job)


@queue.pre_execute()
def cancel(task) -> None:
    if task.args == (-1,):
        raise CancelExecution
