"""What the service manager hears from the control plane: that the queues run, that a reload is over, how things are.

The keeper tells the rest by itself: that a reload begins, that the end has begun, signs of life.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from procq.daemon.news import News
from procq.engine.loop import Engine
from procq.engine.port import TellService
from procq.engine.view import StateView
from procq.intent import Intent, desired_queue
from procq.model import Spawned
from procq.plan.crew import places
from procq.plan.waves import Known, waits_for
from procq.state import Backoff, Finished, QueueState, Resting, Running, WorkerState
from procq.text import count, listing

_EVERY = 2.0
"""Seconds between two lines about how things are, at least."""
_MOST_NAMED = 3
_SHARE = 20
"""Times as long as a look took, until the next one."""


class Service:
    """Tells the service manager. `error` says why the manifest on disk is not in force, where it is not."""

    def __init__(self, engine: Engine, news: News, error: Callable[[], str | None]) -> None:
        self._engine = engine
        self._news = news
        self._error = error
        self._told = ""
        self._is_ready = False

    async def run(self) -> None:
        """Says that procq is ready once nothing is on its way any more, and from then on how things are."""
        await self._until(lambda: not arriving(self._engine.snapshot()))
        self._is_ready = True
        self.say()
        while True:
            await self._until(lambda: self._line() != self._told)
            self.say()
            await asyncio.sleep(_EVERY)

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Looks after news, and takes little of the loop's time for it: to look at ten thousand workers is work."""
        while True:
            began = time.monotonic()
            news = asyncio.ensure_future(self._news.next())
            if holds():
                news.cancel()
                return
            await asyncio.sleep(_SHARE * (time.monotonic() - began))
            await news

    def say(self) -> None:
        """Says how things are. That is what ends a reload, and does no harm where there is none."""
        self._told = self._line()
        if not self._engine.snapshot().observed.shutting_down:
            ready = "READY=1\n" if self._is_ready else ""
            self._engine.send(TellService(f"{ready}STATUS={self._told}"))

    def _line(self) -> str:
        view = self._engine.snapshot()
        return status(view, self._error()) if not view.observed.shutting_down else self._told


def arriving(view: StateView) -> bool:
    """Whether a worker that is wanted is still on its way. One that failed, or waits for others that did, is not."""
    if view.intent is None:
        return True
    intent = view.intent
    return any(_arriving(view, intent, name) for name in intent.manifest.queues)


def _arriving(view: StateView, intent: Intent, name: str) -> bool:
    desired, observed = desired_queue(intent, name), view.queue(name)
    if desired is None:
        return False
    wanted = [slot for slot in places(desired, observed) if not desired.stopped(slot)]
    at_once = isinstance(desired.queue.ready.check, Spawned)
    left = [state for state in map(observed.workers.get, wanted) if not _settled(state, at_once)]
    if all(state is None for state in left) and waits_for(desired, observed, lambda other: _known(view, intent, other)):
        return False
    return bool(left)


def _settled(state: WorkerState | None, at_once: bool) -> bool:
    if isinstance(state, Running):
        return at_once or state.ready is not None
    return isinstance(state, Backoff | Finished)


def _known(view: StateView, intent: Intent, name: str) -> Known:
    return desired_queue(intent, name), view.queue(name)


def status(view: StateView, error: str | None) -> str:
    """One short line for `systemctl status`."""
    if view.intent is None:
        return "starting"
    names = view.intent.manifest.queues
    running = sum(_running(view.queue(name)) for name in names)
    wanted = sum(_wanted(view.intent, name) for name in names)
    failing = [name for name in names if _fails(view.queue(name))]
    parts = [f"{running:,} of {count(wanted, 'worker')}"]
    if failing:
        more = len(failing) - _MOST_NAMED
        shown = failing if more <= 0 else [*failing[:_MOST_NAMED], count(more, "other queue")]
        parts.append(f"failing: {listing(shown)}")
    if error is not None:
        parts.append("the manifest on disk is not valid, and not in force")
    return "; ".join(parts)


def _running(queue: QueueState) -> int:
    return sum(isinstance(state, Running) for state in queue.workers.values())


def _wanted(intent: Intent, name: str) -> int:
    desired = desired_queue(intent, name)
    return sum(not desired.stopped(slot) for slot in range(1, desired.workers + 1)) if desired else 0


def _fails(queue: QueueState) -> bool:
    return any(
        isinstance(state, Backoff) or (isinstance(state, Finished) and state.why in (Resting.FAILED, Resting.GAVE_UP))
        for state in queue.workers.values()
    )
