"""TaskIQ: `taskiq worker --receiver procq.worker.taskiq:Receiver jobs:broker`.

With the `ListQueueBroker` of taskiq-redis a worker that is to leave takes no more jobs, and leaves when those that it
has are done. With other brokers jobs are counted, but the worker gets its stop signal at once: then TaskIQ finishes the
jobs that it has, and has to be given the time for that (`stop: {grace: 5m}`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextvars import ContextVar
from typing import Any, Final

import taskiq.receiver
from taskiq.exceptions import NoResultError

from procq import worker
from procq.worker import Origin, Running
from procq.worker.aio import Attempt, Gate

_LOOK: Final = 1
"""Seconds for which it waits for a job before it looks whether it is to rest."""
_attempt: Final[ContextVar[Attempt | None]] = ContextVar("procq_taskiq_attempt", default=None)


class Receiver(taskiq.receiver.Receiver):
    """TaskIQ's receiver, which speaks."""

    _gate: Gate | None = None
    _destination = ""
    _parks = False

    async def prefetcher(self, *arguments: Any) -> None:
        """TaskIQ calls it when it is about to take jobs."""
        if self._gate is None and worker.heard():
            self._parks = type(self.broker).listen.__qualname__ == "ListQueueBroker.listen"
            if self._parks:
                self.broker.listen = self._listen
            self._destination = getattr(self.broker, "queue_name", "")
            self._gate = Gate.listening() if self._parks else Gate()
            self._watch_kicks()
            worker.ready()
        await super().prefetcher(*arguments)

    async def _listen(self) -> AsyncIterator[bytes]:
        """What the broker does, but that it does not wait for ever, and rests when it is told to."""
        from redis.asyncio import Redis

        assert self._gate is not None
        async with Redis(connection_pool=self.broker.connection_pool) as redis:
            while True:
                await self._gate.passes()
                with self._gate.taking():
                    found = await _kept(redis.brpop([self.broker.queue_name], timeout=_LOOK))
                    if found is not None:
                        self._gate.took()
                if found is not None:
                    yield found[1]

    def _watch_kicks(self) -> None:
        kick = self.broker.kick

        async def watched(message: Any) -> None:
            await kick(message)
            known = _attempt.get()
            if known is not None and known.id == message.task_id:
                known.outcome = Running.retried

        self.broker.kick = watched

    async def callback(self, message: Any, raise_err: bool = False) -> None:
        """Does what was taken."""
        if self._gate is None:
            await super().callback(message, raise_err)
            return
        if not self._parks:
            self._gate.took()
        attempt = Attempt(self._gate, Running.failed)
        _attempt.set(attempt)
        try:
            await super().callback(message, raise_err)
        finally:
            attempt.end()

    async def run_task(self, target: Any, message: Any, ack_controller: Any = None) -> Any:
        """TaskIQ calls it when it has understood what was taken."""
        attempt = _attempt.get()
        if attempt is None:
            return await super().run_task(target, message, ack_controller)
        attempt.origin = Origin("taskiq", self._destination, message.labels)
        attempt.begin(message.task_id, message.task_name)
        retries = message.labels.get("_retries")
        result = await super().run_task(target, message, ack_controller)
        if not result.is_err:
            attempt.outcome = Running.done
        elif isinstance(result.error, NoResultError) and attempt.outcome is not Running.retried:
            # Either it is to be sent again later, or the task itself wants no result.
            attempt.outcome = Running.done if message.labels.get("_retries") == retries else Running.retried
        return result


async def _kept(taking: Awaitable[Any]) -> Any:
    """What it takes, even if nobody is to wait for it any more: otherwise what the broker has handed out were lost."""
    task = asyncio.ensure_future(taking)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if (taken := await task) is None:
            raise
        return taken
