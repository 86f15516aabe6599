"""What happened: a bounded list that any number of readers follow at their own pace, and the journal behind it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from procq.describe import describe
from procq.endings import ExitStatus, SpawnFailure, ending
from procq.events import Attached, Event, Exited, Forgotten, Retired, Snapshot, SpawnFailed, SpawnRequested
from procq.journal.record import Entry, Past
from procq.lives import UNKNOWN, Life
from procq.model import WorkerId
from procq.state import NO_JOBS, Draining, Ended, Report, WorkerState
from procq.wire import EventView

if TYPE_CHECKING:
    from procq.journal.telling import Pages

LENGTH = 2_000
"""Events that are remembered."""
_IDS = 1_000_000
"""Ids of events that a control plane has for each second of its life. They begin with the time of day in seconds times
that: so they are above those of all control planes before it, and a reader that goes on with the next one misses
nothing. Programs that know no whole numbers above 2 ** 53 can still tell them apart.
"""
_UNKEPT = 10_000
"""Events that wait for the journal while the workers are started."""
_INSTANCE = 2**63 - 1


class History:
    """Remembers events; a reader that falls behind is told how many it missed, and costs nothing meanwhile."""

    def __init__(self, clock: Callable[[], float] = time.time, length: int = LENGTH, *, keep: bool = False) -> None:
        """With `keep`, events wait for `attach`."""
        self._clock = clock
        self._events: deque[EventView] = deque(maxlen=length)
        self.base = self._next = 0
        """The first id of this control plane."""
        self._news = asyncio.Event()
        self._last_exits: dict[WorkerId, str] = {}
        self._restarts: dict[WorkerId, int] = {}
        self._ends: dict[WorkerId, int] = {}
        self._unkept: deque[Entry] = deque(maxlen=_UNKEPT)
        self._put: Callable[[Entry], None] | None = self._unkept.append if keep else None
        self.keeper = 0
        """The procq that all this happens to, where it may have had a control plane before; else 0."""
        self._instance = 0
        self.older: Pages | None = None
        """What is not remembered any more, or never was here."""
        self.saved: float | None = None
        """Since when the manifest has been in force that was so before this control plane, as far as that is known."""

    @property
    def first(self) -> int:
        """The oldest id that is remembered, or the next one."""
        return self._events[0].id if self._events else self._next or int(self._clock() * _IDS)

    @property
    def newest(self) -> int:
        """The id of the newest event."""
        return self.first - 1 if not self._events else self._events[-1].id

    def resumed(self, last: int) -> int:
        """Where a reader goes on that has seen the event `last`: at 0 for an id of a time that is still to come."""
        return last if last < max(self._next, int(self._clock() * _IDS)) else 0

    def attach(self, past: Past, put: Callable[[Entry], None], older: Pages) -> None:
        """Keeps events by `put` from now on, those too that wait for it.

        `past` is what has been kept before. Ends that are told there are not told again, and ids go on above its own;
        so nobody may have read anything before.
        """
        known = {
            entry.event.id
            for entry in self._unkept
            if entry.generation is not None
            and past.ends.get((entry.event.worker, entry.event.kind), 0) >= entry.generation
        }
        base = max(self.base or int(self._clock() * _IDS), past.newest + 1)
        if known or base != self.base:
            waiting = [entry for entry in self._unkept if entry.event.id not in known]
            ids = {entry.event.id: base + n for n, entry in enumerate(waiting)}
            self._unkept = deque(replace(e, event=replace(e.event, id=ids[e.event.id])) for e in waiting)
            remembered = [replace(event, id=ids[event.id]) for event in self._events if event.id in ids]
            self._events = deque(remembered, maxlen=self._events.maxlen)
            self.base, self._next = base, base + len(waiting)
        self._put, self.older, self.saved = put, older, past.saved
        while self._unkept:
            put(self._unkept.popleft())

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
            case Attached(epoch=epoch, instance=instance):
                self._instance = instance & _INSTANCE
                self.keeper = self._instance if epoch > 1 else 0
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
            end = event.generation if isinstance(event, Exited | SpawnFailed | Retired) else None
            self._note(described.kind, described.text, described.worker, described.queue, life.report, end)

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
        self._note(kind, text, worker, queue, report, None)

    def _note(
        self, kind: str, text: str, worker: WorkerId | None, queue: str | None, report: Report | None, end: int | None
    ) -> None:
        work, at = NO_JOBS if report is None else report.work, self._clock()
        if not self._next:
            self.base = self._next = int(at * _IDS)
        event = EventView(
            id=self._next,
            at=at,
            kind=kind,
            text=text,
            queue=worker.queue if worker else queue,
            worker=str(worker) if worker else None,
            jobs=work.jobs,
            jobs_failed=work.failed,
            job=None if report is None or report.idle else report.job or None,
        )
        self._events.append(event)
        self._next += 1
        if self._put is not None:
            self._put(Entry(event, self._instance, end))
        news, self._news = self._news, asyncio.Event()
        news.set()

    def since(self, last: int) -> list[EventView]:
        """What came after the event `last`, as far as it is remembered. Begins with a `gap` where some of it is not."""
        if last >= self._next:
            # An id of a control plane before this one, of a time that is still to come: nothing here has been seen.
            last = 0
        if not self._events or last == self._next - 1:
            return []
        first = self._events[0].id
        found = [event for event in self._events if event.id > last]
        if 0 < last < first - 1:
            what = f"{first - last - 1} events" if last >= self.base else "events of the control plane"
            found.insert(0, EventView(first - 1, self._events[0].at, "gap", f"{what} before this are forgotten"))
        return found

    async def until_news(self, last: int, timeout: float) -> None:
        """Returns when there is something after the event `last`, or `timeout` seconds have passed."""
        news = self._news
        if last != self._next - 1 and self._events:
            return
        try:
            async with asyncio.timeout(timeout):
                await news.wait()
        except TimeoutError:
            return
