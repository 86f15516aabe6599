"""Celery: `from procq.worker.celery import install; install(app)`, once, where `app = Celery(…)` is made.

It is for the pools prefork, threads and solo, on any broker. The main process of a worker speaks, for its pool too.

Where the process that does a job uses OpenTelemetry (of a pool of processes that is each of these), it makes the span.

A worker that is to take no more jobs does those that wait for its pool (`worker_prefetch_multiplier` says how many) and
is busy until then. What comes to it after that goes back to the broker at once. A job that waits inside the worker for
its ETA, its countdown or its rate limit does not make it busy: it goes back when it is due, or, as ever, at the stop
signal. A worker of a queue with `no_ack` cannot give back what comes to it, and does it.

An attempt counts as retried if its message is to come again: by `retry`, `Reject(requeue=True)`, or because it was not
acknowledged and its process was lost. One that is revoked while it runs has failed. One that was revoked or had expired
before it began does not count.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, Final

from billiard.einfo import ExceptionWithTraceback
from celery import bootsteps
from celery.exceptions import Ignore
from celery.worker import state

from procq import worker
from procq.worker import Running, celery_tracing

_ENDS: Final = {"task-succeeded": Running.done, "task-retried": Running.retried, "task-cancelled": Running.retried}
"""What Celery's events tell about the end of an attempt, where there is no other sign of it."""


def install(app: Any) -> None:
    """Its workers speak from now on. Outside procq, and for whoever sends tasks, nothing changes."""
    app.steps["consumer"].add(_Speaker)


class _Attempt:
    """A job that was taken: it is among those that wait until it begins. `outcome` is its end, where Celery tells."""

    __slots__ = ("_label", "_running", "_speaker", "outcome")

    def __init__(self, speaker: _Speaker, id: str, name: str) -> None:
        self._speaker = speaker
        self._running: Running | None = None
        self._label = (id, name)
        self.outcome: Callable[[Running], None] | None = None

    def begin(self) -> None:
        """It begins, unless it has, or was dropped."""
        if self in self._speaker.waiting:
            self._running = self._speaker.begin(self, *self._label)

    def end(self, outcome: Callable[[Running], None]) -> None:
        """It has ended, unless that is known."""
        self.begin()
        if self._running is not None:
            (self.outcome or outcome)(self._running)

    def leave(self) -> None:
        """The pool does not have it, or not any more. If nothing else is known it has failed, or is dropped."""
        if self._running is None:
            self._speaker.waiting.discard(self)
            worker.tell()
        self.end(Running.failed)


class _Speaks:
    """What makes a request of Celery speak: put before its own class. Celery calls it in the main process."""

    __slots__ = ()
    procq: _Attempt

    def execute_using_pool(self, pool: Any, **options: Any) -> Any:
        attempt, result, left = self.procq, None, True
        try:
            result = super().execute_using_pool(pool, **options)  # type: ignore[misc]
            left = result is None and not pool.is_green
        finally:
            if left:  # it was revoked, or done in this very thread
                attempt.leave()
        if isinstance(future := getattr(result, "f", None), Future):
            future.add_done_callback(lambda _: attempt.leave())
        return result

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        self.procq.begin()
        super().on_accepted(pid, time_accepted)  # type: ignore[misc]

    def on_success(self, result: tuple[Any, Any, Any], **options: Any) -> Any:
        try:
            return super().on_success(result, **options)  # type: ignore[misc]
        finally:
            self.procq.end(Running.failed if result[0] else Running.done)

    def on_failure(self, info: Any, *arguments: Any, **options: Any) -> Any:
        error = info.exception.exc if isinstance(info.exception, ExceptionWithTraceback) else info.exception
        try:
            return super().on_failure(info, *arguments, **options)  # type: ignore[misc]
        finally:
            self.procq.end(Running.done if isinstance(error, Ignore) else Running.failed)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        try:
            super().on_timeout(soft, timeout)  # type: ignore[misc]
        finally:
            if not soft:
                self.procq.end(Running.failed)

    def send_event(self, type: str, **fields: Any) -> None:
        outcome = Running.retried if fields.get("requeue") else _ENDS.get(type)
        self.procq.outcome = outcome or self.procq.outcome
        super().send_event(type, **fields)  # type: ignore[misc]


class _Speaker(bootsteps.StartStopStep):
    """Comes in between where a worker consumes, and where it hands jobs to its pool: there it takes them, or not."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def include_if(self, c: Any) -> bool:
        return worker.heard()

    def create(self, c: Any) -> None:
        celery_tracing.follow()
        self.waiting: set[_Attempt] = set()
        self._beginning: set[int] = set()
        self._lock = threading.Lock()
        self._closed = self._listens = self._ready = False
        c.on_task_request = partial(self._take, c, c.on_task_request)
        c.init_callback = partial(self._is_ready, c.init_callback)

    def start(self, c: Any) -> None:
        """After each connection to the broker, before anything is consumed."""
        consume = c.task_consumer.consume
        c.task_consumer.consume = lambda **options: None if self._closed else consume(**options)
        if not self._listens:
            self._listens = True
            worker.can_park(partial(self._park, c, True), partial(self._park, c, False), self._count)
        elif vars(c.pool).get("flush") is not None:
            # A pool of processes has forgotten what has not begun when the connection was lost. Others have not.
            for attempt in list(self.waiting):
                attempt.leave()

    def begin(self, attempt: _Attempt, id: str, name: str) -> Running:
        """A job that was taken begins."""
        # What this thread says now counts it once. What another one says may count it twice, but never not at all.
        self._beginning.add(threading.get_ident())
        try:
            return Running(id, name, traced=False)
        finally:
            self.waiting.discard(attempt)
            self._beginning.discard(threading.get_ident())

    def _count(self) -> int:
        return len(self.waiting) - (threading.get_ident() in self._beginning)

    def _park(self, c: Any, yes: bool) -> None:
        # Said in the lock: what was taken is in `waiting` by then, and nothing is taken in between.
        with self._lock:
            self._closed = yes
            worker.parked(yes)
        c.call_soon(self._follow, c)

    def _follow(self, c: Any) -> None:
        """In the consumer's own thread, once that is free. What comes before that is not taken."""
        if c.blueprint.state == bootsteps.RUN and c.connection and c.task_consumer is not None:
            if self._closed:
                with suppress(Exception):  # the connection is lost, which its loop sees by itself
                    c.task_consumer.cancel()
            else:
                c.task_consumer.consume()

    def _is_ready(self, callback: Callable[[Any], Any] | None = None, c: Any = None) -> None:
        if callback is not None:
            callback(c)
        if not self._ready:
            self._ready = True
            worker.ready()

    def _take(self, c: Any, hand_over: Callable[[Any], Any], request: Any) -> Any:
        """Celery calls it with each job that is to begin: one that has come, or one that is due."""
        attempt = _Attempt(self, request.id, request.name)
        with self._lock:
            goes_back = self._closed and not any(queue.no_ack for queue in c.app.amqp.queues.consume_from.values())
            if not goes_back:
                self.waiting.add(attempt)
        if goes_back:
            request.reject(requeue=True)
            return state.task_ready(request)
        kind = type(request)
        if "procq_kind" not in vars(kind):
            kind.procq_kind = type(kind.__name__, (_Speaks, kind), {"__slots__": ()})
        request.__class__, request.procq = kind.procq_kind, attempt
        self._is_ready()
        return hand_over(request)
