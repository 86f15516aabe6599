"""Jobs for Dramatiq, on the broker that BROKER names; and a witness of what is left when a worker is stopped."""

from __future__ import annotations

import os
import threading
import time

import dramatiq
import ledger
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage, SkipMessage

import procq.worker.dramatiq

TAKES = 0.25  # seconds: with sixteen at a time, some are to be left when the last worker has been replaced


class Witness(dramatiq.Middleware):
    """Writes down the jobs that a worker has when it is told to stop, begun or not."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.begun = 0

    def before_process_message(self, broker, message) -> None:
        if message.args == (-1,):
            raise SkipMessage
        with self.lock:
            self.begun += 1

    def after_process_message(self, broker, message, *, result=None, exception=None) -> None:
        with self.lock:
            self.begun -= 1

    def before_worker_shutdown(self, broker, worker) -> None:
        for _ in range(self.begun + worker.work_queue.qsize()):
            ledger.write("left", 0)


place = os.environ["BROKER"]
broker = RedisBroker(url=place) if place.startswith("unix:") else RabbitmqBroker(url=place)
broker.add_middleware(procq.worker.dramatiq.Middleware())
broker.add_middleware(CurrentMessage())
broker.add_middleware(Witness())
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="work", throws=ledger.Failure, max_retries=1, min_backoff=10, max_backoff=50)
def work(job: int) -> None:
    ledger.before(job, 1 + CurrentMessage.get_current_message().options.get("retries", 0))
    time.sleep(TAKES)
    ledger.after(job)


@dramatiq.actor(queue_name="work", max_retries=0)
def never(job: int) -> None:
    """Fails, whatever it is given."""
    ledger.write("began", job)
    raise ledger.Failure(job)
