"""Dramatiq on Redis. Two runs differ by far more than an adapter costs: one worker has it for every other turn."""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from stamp import SPEAK, TURN, stamp

from procq.worker import dramatiq as adapter


class Middleware(adapter.Middleware):
    """Knows nothing of every other turn of messages."""

    def before_worker_boot(self, broker: Any, worker_: Any) -> None:
        """Consumers are made after it."""
        super().before_worker_boot(broker, worker_)
        self._passed: set[int] = set()
        tapped = broker.consume
        broker.consume = lambda *arguments, **options: InTurns(tapped(*arguments, **options), self._passed)

    def before_process_message(self, broker: Any, message: Any) -> None:
        """The job begins."""
        if id(message) not in self._passed:
            super().before_process_message(broker, message)


class InTurns:
    """Before the adapter's consumer: passes by it with every other turn of messages."""

    def __init__(self, tap: Any, passed: set[int]) -> None:
        self._tap, self._passed = tap, passed
        self._taken = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tap, name)

    def __iter__(self) -> InTurns:
        return self

    def __next__(self) -> Any:
        passes = self._taken // TURN % 2 == 1
        message = next(self._tap._consumer if passes else self._tap)
        if message is not None:
            self._taken += 1
            if passes:
                self._passed.add(id(message))
        return message

    def ack(self, message: Any) -> None:
        """It is done."""
        if id(message) in self._passed:
            self._passed.discard(id(message))
            self._tap._consumer.ack(message)
        else:
            self._tap.ack(message)


broker = RedisBroker(url=f"unix://{os.environ['REDIS_SOCKET']}")
if SPEAK:
    broker.add_middleware(Middleware())
dramatiq.set_broker(broker)


@dramatiq.actor
def work() -> None:
    stamp()


def send(jobs: int) -> None:
    for _ in range(jobs):
        work.send()
