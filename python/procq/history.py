"""What happened, as far as it is remembered: a bounded list that any number of readers follow at their own pace."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

from procq.describe import describe
from procq.endings import ExitStatus, SpawnFailure, ending
from procq.events import Attached, Event, Exited, Forgotten, Snapshot, SpawnFailed, SpawnRequested
from procq.lives import UNKNOWN, Life
from procq.model import WorkerId
from procq.state import NO_JOBS, Draining, Ended, Report, WorkerState
from procq.wire import EventView

LENGTH = 2_000
"""Events that are remembered."""
_IDS = 1_000_000_000
"""Ids of events that each control plane has for itself: a reader that goes on with the next one misses nothing."""


class History:
    """Remembers events; a reader that falls behind is told how many it missed, and costs nothing meanwhile."""

    def __init__(self, clock: Callable[[], float] = time.time, length: int = LENGTH) -> None:
        self._clock = clock
        self._events: deque[EventView] = deque(maxlen=length)
        self._next = 1
        self._news = asyncio.Event()
        self._last_exits: dict[WorkerId, str] = {}
        self._restarts: dict[WorkerId, int] = {}
        self._ends: dict[WorkerId, int] = {}

    @property
    def last_exits(self) -> dict[WorkerId, str]:
        """How the generation before the present one ended, in words."""
        return self._last_exits

    @property
    def restarts(self) -> dict[WorkerId, int]:
        """How often a slot was taken again without somebody having asked for it."""
        return self._restarts

    def record(self, event: Event, life: Life = UNKNOWN) -> None:
        """Remembers an event of the engine, if it says something to a person. `life` is what an exit ended."""
        match event:
            case Attached(epoch=epoch) if epoch > 1:
                self._next = max(self._next, (epoch - 1) * _IDS + 1)
            case Snapshot(workers=workers):
                known = {worker for worker, _ in workers}
                self._restarts = {worker: n for worker, n in self._restarts.items() if worker in known}
                self._last_exits = {worker: text for worker, text in self._last_exits.items() if worker in known}
                self._ends = {worker: generation for worker, generation in self._ends.items() if worker in known}
                for worker, state in workers:
                    self._learn(worker, state)
            case Exited(worker, generation, outcome, _) | SpawnFailed(worker, generation, outcome, _):
                self._last_exits[worker] = ending(outcome, life.asked, life.fault, life.limit)
                self._ends[worker] = generation
            case SpawnRequested(worker=worker, fresh=False) if worker in self._last_exits:
                self._restarts[worker] = self._restarts.get(worker, 0) + 1
            case Forgotten(worker=worker):
                self._last_exits.pop(worker, None)
                self._restarts.pop(worker, None)
                self._ends.pop(worker, None)
        described = describe(event, life)
        if described is not None:
            self.note(described.kind, described.text, described.worker, described.queue, life.report)

    def _learn(self, worker: WorkerId, state: WorkerState) -> None:
        """An end that came while nobody was there to be told, or whose event was lost."""
        if not isinstance(state, Draining | Ended) or state.generation <= self._ends.get(worker, 0):
            return
        end, life = state.end, Life(state.end.ran, state.end.asked, state.end.fault, state.end.limit)
        match end.outcome:
            case ExitStatus() as status:
                self.record(Exited(worker, state.generation, status, end.at), life)
            case SpawnFailure() as failure:
                self.record(SpawnFailed(worker, state.generation, failure, end.at), life)

    def note(
        self,
        kind: str,
        text: str,
        worker: WorkerId | None = None,
        queue: str | None = None,
        report: Report | None = None,
    ) -> None:
        """Remembers something that is not an event of the engine; `report` is the last one of a worker that ended."""
        work = NO_JOBS if report is None else report.work
        self._events.append(
            EventView(
                id=self._next,
                at=self._clock(),
                kind=kind,
                text=text,
                queue=worker.queue if worker else queue,
                worker=str(worker) if worker else None,
                jobs=work.jobs,
                jobs_failed=work.failed,
                job=None if report is None or report.idle else report.job or None,
            )
        )
        self._next += 1
        news, self._news = self._news, asyncio.Event()
        news.set()

    def since(self, last: int) -> list[EventView]:
        """What came after the event `last`. Begins with a `gap` where some of it is forgotten."""
        if last >= self._next:
            # An id of a control plane before this one: nothing here has been seen.
            last = 0
        if not self._events or last == self._next - 1:
            return []
        first = self._events[0].id
        missed = first - last - 1
        found = [event for event in self._events if event.id > last]
        if missed > 0 and last > 0:
            same_control_plane = first // _IDS == last // _IDS
            what = f"{missed} events" if same_control_plane else "events of the control plane"
            found.insert(0, EventView(first - 1, self._events[0].at, "gap", f"{what} before this are forgotten"))
        return found

    async def follow(self, last: int, heartbeat: float) -> AsyncIterator[list[EventView]]:
        """What comes after the event `last`, in batches, without end; an empty one after `heartbeat` seconds."""
        while True:
            news = self._news
            batch = self.since(last)
            if not batch:
                try:
                    async with asyncio.timeout(heartbeat):
                        await news.wait()
                except TimeoutError:
                    yield []
                continue
            last = batch[-1].id
            yield batch
