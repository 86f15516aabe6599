"""Dramatiq: `broker.add_middleware(procq.worker.dramatiq.Middleware())`, where the broker is made.

It is for Redis and RabbitMQ. A process that is to park takes no more messages, and works off the few that it has
prepared for its threads: until then they count as busy. Delayed messages do not; when they are due they go to their
queue, for whoever takes jobs.

An attempt counts as tried again where its message was sent again, as the middleware `Retries` does. A message that is
skipped, for its age or by a middleware, does not count at all.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import dramatiq
from dramatiq.common import q_name
from dramatiq.errors import BrokerConnectionError, ConnectionClosed

from procq import worker
from procq.worker.taken import Taken

_LOOK: Final = 0.2
"""Seconds between two looks of a consumer that is to take no messages."""
_LONGEST: Final = 1_000
"""Milliseconds for which a consumer may wait for messages before it looks whether it is to take none."""
_BEAT: Final = 10.0
"""Seconds between two signs of life to a Redis: what a process does that gives none for a minute goes to another."""


class _Tap:
    """Between a consumer of the broker and the thread that takes messages from it."""

    def __init__(self, consumer: Any, taken: Taken) -> None:
        self._consumer, self._taken = consumer, taken
        self._beat = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._taken.enter(self):
            self._rest()
            return None
        message = self._take()
        if message is not None:
            self._taken.hold(message)
        return message

    def has_more(self) -> bool:
        """Whether it has messages in store: they are here for the broker, too."""
        return bool(getattr(self._consumer, "message_cache", None))

    def _take(self) -> Any:
        return next(self._consumer)

    def _rest(self) -> None:
        time.sleep(_LOOK)
        if self._beat < time.monotonic():
            self._beat = time.monotonic() + _BEAT
            with contextlib.suppress(Exception):
                self._consumer.broker.do_qsize(self._consumer.queue_name)

    def ack(self, message: Any) -> None:
        self._settle(message, self._consumer.ack)

    def nack(self, message: Any) -> None:
        self._settle(message, self._consumer.nack)

    def _settle(self, message: Any, settle: Callable[[Any], None]) -> None:
        try:
            settle(message)
        except BrokerConnectionError:
            raise  # Dramatiq tries again, for as long as it takes.
        except BaseException:
            self._taken.let_go(message)
            raise
        self._taken.let_go(message)

    def close(self) -> None:
        self._taken.leave(self)
        self._consumer.close()


class _RabbitmqTap(_Tap):
    """RabbitMQ sends messages by itself: to a consumer that rests it must not. What was acknowledged is still sent."""

    _subscribed = True

    def _take(self) -> Any:
        if not self._subscribed:
            rabbit = self._consumer
            rabbit.iterator = rabbit.channel.consume(rabbit.queue_name, inactivity_timeout=_LONGEST / 1_000)
            self._subscribed = True
        return super()._take()

    def _rest(self) -> None:
        try:
            if self._subscribed:
                # What has come and nobody has looked at goes back.
                self._consumer.channel.cancel()
                self._subscribed = False
            self._consumer.connection.process_data_events(time_limit=_LOOK)
        except Exception as error:
            raise ConnectionClosed(error) from None


class Middleware(dramatiq.Middleware):
    """What makes workers of Dramatiq speak. Outside procq, and for whoever sends messages, nothing changes."""

    def __init__(self) -> None:
        self._taken: Taken | None = None

    def before_worker_boot(self, broker: Any, worker_: Any) -> None:
        """Consumers are made after it."""
        if not worker.heard():
            return
        self._taken = taken = Taken()
        worker.can_park(taken.park, taken.resume, taken.waiting)
        # The last one before a job begins, when nobody can skip it any more; and the first after it.
        broker.middleware = [*(each for each in broker.middleware if each is not self), self]
        consume = broker.consume

        def tapped(queue_name: str, prefetch: int = 1, timeout: int = _LONGEST) -> Any:
            consumer = consume(queue_name=queue_name, prefetch=prefetch, timeout=min(timeout, _LONGEST))
            if queue_name != q_name(queue_name):
                return consumer
            return (_RabbitmqTap if hasattr(consumer, "channel") else _Tap)(consumer, taken)

        broker.consume = tapped

    def after_worker_boot(self, broker: Any, worker_: Any) -> None:
        """It takes messages."""
        if self._taken is not None:
            worker.ready()

    def before_process_message(self, broker: Any, message: Any) -> None:
        """The job begins."""
        if self._taken is not None:
            self._taken.begin(message)

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Whether it has failed for good is known when others have seen this, and the message is settled."""
        attempt = None if self._taken is None else self._taken.attempt()
        if attempt is not None:
            attempt.raised = exception is not None

    def after_enqueue(self, broker: Any, message: Any, delay: int) -> None:
        """A message that is sent again while others look at its failure is tried again."""
        attempt = None if self._taken is None else self._taken.attempt()
        if attempt is not None and attempt.raised and attempt.message.message_id == message.message_id:
            attempt.again = True

    def before_delay_message(self, broker: Any, message: Any) -> None:
        """It waits for its time."""
        if self._taken is not None:
            self._taken.let_go(message)
