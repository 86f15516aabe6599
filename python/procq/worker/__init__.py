"""For workers: tell the procq that runs you what you do, so that it counts, times, drains and stops you between jobs.

    from procq import worker

    worker.ready()
    while worker.may_work():
        task = take_one(timeout=1)
        if task is not None:
            with worker.job(task.id, task.name):
                task.run()

Standard library only. Nothing here waits for procq, and outside procq nothing here does anything, so it may stay in.
A worker of a library (Celery, RQ, …) has an adapter in this package, which does all of it: see docs/workers.md.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import Final

from procq.worker.reporter import Reporter
from procq.worker.tracing import API, AnyOrigin, Origin, Tracing

__all__ = [
    "Origin",
    "Running",
    "can_park",
    "done",
    "extend",
    "failed",
    "heard",
    "job",
    "may_work",
    "parked",
    "ready",
    "retried",
    "should_stop",
    "status",
    "stopping",
    "tell",
    "watchdog",
]

_reporter: Final = Reporter(os.environ)
spans: Final = Tracing(os.environ)
_newest: ContextVar[Running | None] = ContextVar("procq_newest_job", default=None)
_LOOK: Final = 0.2
"""Seconds between two looks of a loop that is parked: a signal cannot wake it without risk."""


class Running:
    """A job that was begun. As a context manager it is done at the end of the block, and failed by an exception."""

    __slots__ = ("_span", "began", "id", "name")

    def __init__(self, id: object, name: object = "", origin: AnyOrigin | None = None, traced: bool = True) -> None:
        """It begins. To be made by adapters, who know which job ends: for `done` and so on it is not the newest one.

        Without a span where it is not to be `traced`: another process does the job, and the span is made there.
        """
        self.id, self.name, self.began = str(id), str(name), time.monotonic()
        _reporter.begin(self)
        self._span = spans.begin(id, name, origin) if traced and API in sys.modules else None

    def done(self) -> None:
        """It is done. Only the first of `done`, `failed` and `retried` counts."""
        self.end()

    def failed(self) -> None:
        """It has failed for good."""
        self.end(failed=True)

    def retried(self) -> None:
        """It has failed, and is to be tried again."""
        self.end(retried=True)

    def end(self, failed: bool = False, retried: bool = False, error: type[BaseException] | None = None) -> None:
        """What the three do; `error` is what it has failed by, for its span."""
        _reporter.end(self, failed, retried)
        if self._span is not None:
            self._span.end(failed=failed, retried=retried, error=error)

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(failed=kind is not None, error=kind)


def heard() -> bool:
    """Whether a procq runs this process and listens."""
    return _reporter.heard


def ready() -> None:
    """This worker takes jobs now. It makes the worker ready where its queue says `ready: notify`."""
    _reporter.say("READY=1")


def job(id: object, name: object = "", origin: Origin | None = None) -> Running:
    """A job begins. `id` and `name` are shown to people, on one line.

    Where the process uses OpenTelemetry a span begins, which is current in this thread or task until the job ends;
    `origin` is for that.
    """
    running = Running(id, name, origin)
    _newest.set(running)
    return running


def done() -> None:
    """The job that was begun last, in this thread or task, is done."""
    if (running := _newest.get()) is not None:
        running.done()


def failed() -> None:
    """The job that was begun last, in this thread or task, has failed for good."""
    if (running := _newest.get()) is not None:
        running.failed()


def retried() -> None:
    """The job that was begun last, in this thread or task, has failed and is to be tried again."""
    if (running := _newest.get()) is not None:
        running.retried()


def status(text: str) -> None:
    """A line for people, as `procq status` shows it."""
    _reporter.say(f"STATUS={' '.join(text.split())}")


def watchdog() -> None:
    """All is well: to be said more often than the `watchdog` of the queue says."""
    _reporter.say("WATCHDOG=1")


def extend(seconds: float) -> None:
    """Told to stop, this worker needs so many seconds more from now on; it gets at most twice its grace period."""
    _reporter.say(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")


def stopping() -> None:
    """This worker is about to leave by itself."""
    _reporter.say("STOPPING=1")


def can_park(park: Callable[[], None], resume: Callable[[], None], waiting: Callable[[], int] | None = None) -> None:
    """This process can be told to take no more jobs, and to take some again: that is what `park` and `resume` do.

    They are called in a thread of their own, must not raise, and say when it is so with `parked`. `waiting` tells how
    many jobs it has taken that have not begun: it is not idle before those are done. It is asked in any thread. After a
    fork the child says so anew, if it can.
    """
    _reporter.listen(park, resume, waiting)


def parked(yes: bool = True) -> None:
    """This process takes no more jobs from now on; or, with False, takes some again."""
    _reporter.parked(yes)


def tell() -> None:
    """Says all numbers anew, where those that `waiting` tells have changed."""
    _reporter.tell()


class _Loop:
    """A plain loop that asks before each job whether it may take one."""

    def __init__(self) -> None:
        self.stop = False
        self._handles = False
        self._listens_in: int | None = None
        self._may_go = threading.Event()
        self._may_go.set()

    def should_stop(self) -> bool:
        if not self._handles and threading.current_thread() is threading.main_thread():
            self._handles = True
            for number, default in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
                if signal.getsignal(number) is default:
                    signal.signal(number, self._asked)
        return self.stop

    def may_work(self) -> bool:
        if self._listens_in != os.getpid():
            self._listens_in = os.getpid()
            self._may_go.set()
            can_park(self._may_go.clear, self._may_go.set)
        while not self.should_stop() and not self._may_go.is_set():
            parked()
            self._may_go.wait(_LOOK)
        if not self.stop:
            parked(False)
        return not self.stop

    def _asked(self, number: int, frame: FrameType | None) -> None:
        self.stop = True


_loop: Final = _Loop()


def should_stop() -> bool:
    """Whether this worker was told to stop: SIGTERM, or SIGINT. To be asked between jobs, first in the main thread.

    The first call takes over the two signals, unless somebody handles them already.
    """
    return _loop.should_stop()


def may_work() -> bool:
    """Whether to take another job; waits for as long as the worker is paused. False once it was told to stop.

    To be asked before each job, by one thread of the process.
    """
    return _loop.may_work()
