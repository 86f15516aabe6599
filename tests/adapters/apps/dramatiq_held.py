"""Jobs for Dramatiq that are held while there are files: `taken`, on the way from Redis, and `work`."""

from __future__ import annotations

import os
import time
from pathlib import Path

import dramatiq
import ledger
from dramatiq.brokers.redis import RedisBroker

import procq.worker.dramatiq


class Broker(RedisBroker):
    @property
    def consumer_class(self):
        class Consumer(super().consumer_class):
            def __next__(self):
                message = super().__next__()
                while message is not None and Path("taken").exists():
                    Path("is_taken").touch()
                    time.sleep(0.01)
                return message

        return Consumer


broker = Broker(url=os.environ["BROKER"])
broker.add_middleware(procq.worker.dramatiq.Middleware())
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="work")
def work(job: int) -> None:
    ledger.write("began", job)
    while Path("work").exists():
        time.sleep(0.01)
    ledger.after(job)
