"""Tells the procq that runs this process what it does: from threads, asyncio, signal handlers, and over forks."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial

from procq.worker.counting import Counts, Job, Note
from procq.worker.link import Link

_TRIES = 5
"""How often all is said anew where it changes while it is said."""


class Reporter:
    """What one process says. Outside procq it says nothing, and costs next to nothing.

    A child that is forked counts from 0, for itself; what its parent had begun is its parent's.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        # Under another service manager the socket is not about jobs, nor about workers.
        self._address = environ.get("NOTIFY_SOCKET", "") if environ.get("PROCQ_WORKER_ID") else ""
        self._starts_parked = environ.get("PROCQ_PARKED") == "1"
        # Signal handlers may come in between.
        self._lock = threading.RLock()
        self._counts = Counts()
        self._noted: deque[Note] = deque()
        self._taking = False
        self._link: Link | None = None
        self._parked: bool | None = None
        self._waiting: Callable[[], int] | None = None
        self._changes = self._told = 0
        self._said_busy = False
        if self._address:
            os.register_at_fork(after_in_child=self._after_fork)
            atexit.register(self._at_exit)

    @property
    def heard(self) -> bool:
        """Whether a procq listens."""
        return self._connected() is not None

    def begin(self, job: Job) -> None:
        """A job begins."""
        # Here and in `end` nothing that need not be. It is counted by who tells of it, which is once for many jobs.
        self._noted.append((job, None, False, False))
        # Whoever is thought to be idle may be told to leave: what the job does next may keep our thread from running.
        if not self._said_busy or self._link is None or not self._link.awake:
            self._tell(at_once=not self._said_busy)

    def end(self, job: Job, failed: bool = False, retried: bool = False) -> None:
        """It has ended. Nothing where that was known already."""
        self._noted.append((job, time.monotonic(), failed, retried))
        # In this order: the thread that is about to sleep looks once more for what was noted.
        if self._link is None or not self._link.awake:
            self._tell()

    def say(self, line: str) -> None:
        """Says one line of its own, as `READY=1`."""
        with self._lock:
            if (link := self._connected()) is not None:
                link.send(f"{line}\n".encode())

    def listen(self, park: Callable[[], None], resume: Callable[[], None], waiting: Callable[[], int] | None) -> None:
        """From now on this process can be told to take no more jobs: see `procq.worker.can_park`."""
        with self._lock:
            self._waiting, self._parked = waiting, False
            self._changes += 1
        if self._starts_parked:
            park()
        with self._lock:
            link = self._connected()
            if link is not None and not link.listen({"PARK": park, "RESUME": partial(self._resume, resume)}):
                self._parked = None
        self._say()

    def _resume(self, resume: Callable[[], None]) -> None:
        # A child that is forked from here on does not start parked.
        self._starts_parked = False
        resume()

    def parked(self, yes: bool) -> None:
        """Says that it takes no more jobs, or takes some again."""
        with self._lock:
            if self._parked is None or self._parked == yes:
                return
            self._parked = yes
            self._changes += 1
        self._say()

    def tell(self) -> None:
        """Says that what is waiting has changed."""
        with self._lock:
            self._changes += 1
        self._tell()

    def _tell(self, at_once: bool = False) -> None:
        """Says all of it: now, or soon where jobs follow each other so closely that one word may tell of several."""
        link = self._connected()
        if link is None:
            self._noted.clear()
        elif at_once or link.rests or not link.later():
            self._say()

    def _say(self) -> None:
        for _ in range(_TRIES):
            if self._said():
                return
        if (link := self._connected()) is not None:
            link.later()

    def _said(self) -> bool:
        """Says all of it, unless something changed meanwhile."""
        if self._connected() is None:
            return True
        self._take()
        before = self._changes
        # Not in the lock: what is asked here may take one of its own, and hold it where it tells something.
        waiting = self._also_busy()
        with self._lock:
            self._take()
            if self._noted or before != self._changes or (link := self._connected()) is None:
                return False
            if self._told != self._changes:
                sent = link.send(self._all(waiting))
                self._told = self._changes if sent else -1
                self._said_busy = sent and self._counts.busy(waiting) > 0
        # What began meanwhile has seen that it was busy, and has left it to us.
        return self._said_busy or not self._noted

    def _take(self) -> None:
        """Counts what was noted. Handlers of signals may come in between, and what they raise."""
        with self._lock:
            if self._taking:
                return
            self._taking = True
            try:
                while self._noted:
                    self._changes += self._counts.take(self._noted[0])
                    self._noted.popleft()
            finally:
                self._taking = False

    def _all(self, waiting: int) -> bytes:
        return f"{self._counts.total(waiting, time.monotonic())}{self._parked_line()}".encode()

    def _also_busy(self) -> int:
        return 0 if self._waiting is None else self._waiting()

    def _parked_line(self) -> str:
        return "" if self._parked is None else f"X_PROCQ_PARKED={int(self._parked)}\n"

    def _connected(self) -> Link | None:
        if self._link is None and self._address:
            with self._lock:
                self._connect()
        return self._link

    def _connect(self) -> None:
        if self._link is None and self._address:
            try:
                self._link = Link(self._address, self._say, self._noted.__len__)
                self._at_the_end_too()
            except OSError:
                # Nobody is there any more, or it is another machine's: nobody will be.
                self._address = ""

    def _at_the_end_too(self) -> None:
        """Processes of these packages end without what is registered with `atexit`."""
        for package in ("multiprocessing", "billiard"):
            if (util := sys.modules.get(f"{package}.util")) is not None:
                util.Finalize(None, self._at_exit, exitpriority=0)

    def _at_exit(self) -> None:
        """The last word must not be lost because the one before it was still on its way."""
        waiting = self._also_busy()
        with self._lock:
            self._take()
            if self._link is not None:
                self._link.insist(self._all(waiting))

    def _after_fork(self) -> None:
        if self._link is not None:
            self._link.drop()
        self._lock, self._counts, self._noted = threading.RLock(), Counts(), deque()
        self._taking = False
        self._link = self._parked = self._waiting = None
        self._changes = self._told = 0
        self._said_busy = False
