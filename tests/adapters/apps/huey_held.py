"""Jobs for Huey that are held while there are files: `taken`, on the way from the storage, and `work`."""

from __future__ import annotations

import time
from pathlib import Path

import ledger
from huey import Huey
from huey.storage import SqliteStorage

import procq.worker.huey


class Storage(SqliteStorage):
    def dequeue(self):
        data = super().dequeue()
        while data is not None and Path("taken").exists():
            Path("is_taken").touch()
            time.sleep(0.01)
        return data


queue = Huey("work", storage_class=Storage, filename="queue.db")
procq.worker.huey.install(queue)


@queue.task()
def work(job: int) -> None:
    ledger.write("began", job)
    while Path("work").exists():
        time.sleep(0.01)
    ledger.after(job)
