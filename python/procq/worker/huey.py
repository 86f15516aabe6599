"""Huey: `procq.worker.huey.install(huey)`, once, where `huey = RedisHuey(…)` or another one is made.

It is for consumers of threads and of processes. At SIGTERM, Huey's consumer interrupts its tasks; at SIGINT it lets
them finish. So `stop.signal` of the queue should be `INT`; or the command should have `--graceful-signal TERM`.

A task that is cancelled (`CancelExecution`) and not tried again counts as done. One that is revoked, that has expired,
or that is not due yet does not count at all.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from huey import signals

from procq import worker

_LOOK: Final = 0.2
"""Seconds between two looks of a thread that may take no job."""
_LONGEST: Final = 1.0
"""Seconds for which a thread may wait for a job before it looks whether it is to take none."""
_PARKED, _STARTED, _TAKES = range(3)
"""Bytes that all processes of a consumer share: whether it is to take no jobs, was started, and takes some."""


def install(huey: Any) -> None:
    """Its consumers speak from now on. Outside procq, and for whoever sends tasks, nothing changes."""
    create = huey.create_consumer

    def create_consumer(**options: Any) -> Any:
        consumer = create(**options)
        if worker.heard():
            consumer.start = partial(_start, huey, consumer, consumer.start)
        return consumer

    huey.create_consumer = create_consumer


def _start(huey: Any, consumer: Any, start: Callable[[], None]) -> None:
    speaker = _Speaker(huey, consumer)
    start()
    speaker.reached(_STARTED)


class _Gate:
    """Where each thread of a process passes before it takes a job; closed once procq has said so."""

    def __init__(self, shared: mmap.mmap, stop: Any, first: bool) -> None:
        self.process = os.getpid()
        self._shared = shared
        self._stop = stop
        # Processes of the consumer that are born later have to know: nobody else tells them in time.
        self._first = first
        self._closed = False
        self._lock = threading.Lock()
        self._taking: set[int] = set()
        worker.can_park(self._park, self._resume)

    def enter(self) -> bool:
        """Waits until this thread may take a job. False if the consumer stops."""
        me = threading.get_ident()
        while True:
            with self._lock:
                if self._open():
                    worker.parked(False)
                    self._taking.add(me)
                    return True
            self.leave()
            if self._stop.wait(_LOOK):
                return False

    def leave(self) -> None:
        """This thread has not got a job, or has said that it has."""
        with self._lock:
            self._taking.discard(threading.get_ident())
            self._say()

    def _open(self) -> bool:
        return not self._closed and not self._shared[_PARKED]

    def _say(self) -> None:
        if not self._open() and not self._taking:
            worker.parked()

    def _park(self) -> None:
        with self._lock:
            self._closed = True
            if self._first:
                self._shared[_PARKED] = 1
            self._say()

    def _resume(self) -> None:
        with self._lock:
            self._closed = False
            if self._first:
                self._shared[_PARKED] = 0
            if self._open():
                worker.parked(False)


class _Attempt:
    """One task at work. It has failed, unless Huey says something else of it."""

    __slots__ = ("end", "running")

    def __init__(self, running: worker.Running) -> None:
        self.running = running
        self.end = running.failed


class _Speaker:
    """Comes in between where a consumer takes a task, and where it executes it."""

    def __init__(self, huey: Any, consumer: Any) -> None:
        self._shared = mmap.mmap(-1, 3)
        self._stop = consumer.stop_flag
        self._attempts: dict[int, _Attempt] = {}
        self._origin = worker.Origin("huey", huey.name)
        self._gate = _Gate(self._shared, self._stop, first=True)
        self._dequeue, huey.dequeue = huey.dequeue, self._take
        self._execute, huey.execute = huey.execute, self._work
        huey.signal(signals.SIGNAL_EXECUTING)(self._begins)
        huey.signal(signals.SIGNAL_COMPLETE, signals.SIGNAL_CANCELED)(self._is_done)
        huey.signal(signals.SIGNAL_RETRYING)(self._is_retried)
        if hasattr(huey.storage, "read_timeout"):
            huey.storage.read_timeout = min(huey.storage.read_timeout or _LONGEST, _LONGEST)

    def reached(self, what: int) -> None:
        """The consumer is ready when it has been started, signal handlers and all, and when it takes tasks."""
        if not self._shared[what]:
            self._shared[what] = 1
            if self._shared[_STARTED] and self._shared[_TAKES]:
                worker.ready()

    def _take(self) -> Any:
        if self._gate.process != os.getpid():
            self._gate = _Gate(self._shared, self._stop, first=False)
        if not self._gate.enter():
            return None
        self.reached(_TAKES)
        task = None
        try:
            task = self._dequeue()
        finally:
            if task is None:
                self._gate.leave()
        return task

    def _work(self, task: Any, timestamp: Any = None) -> Any:
        try:
            return self._execute(task, timestamp)
        finally:
            attempt = self._attempts.pop(id(task), None)
            if attempt is None:
                self._gate.leave()
            else:
                attempt.end()

    def _begins(self, signal: str, task: Any) -> None:
        self._attempts[id(task)] = _Attempt(worker.Running(task.id, task.name, self._origin))
        self._gate.leave()

    def _is_done(self, signal: str, task: Any) -> None:
        if (attempt := self._attempts.get(id(task))) is not None:
            attempt.end = attempt.running.done

    def _is_retried(self, signal: str, task: Any) -> None:
        if (attempt := self._attempts.get(id(task))) is not None:
            attempt.end = attempt.running.retried
