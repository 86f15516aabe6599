"""Looks at what workers use, every few seconds and only where queues have limits; and at what they say of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from procq.engine.loop import Engine
from procq.engine.view import StateView
from procq.events import Condemned, Event, IntentChanged, Reported, Snapshot
from procq.meter import NO_LIMIT, Read
from procq.model import Limits, WorkerId
from procq.monitor.judge import CPU_WINDOW, LOOKS, Judge, Verdict, judge_report, late_at
from procq.state import QueueState, Running

EVERY: Final = 5.0
"""Seconds between two looks."""
_REPORTS_EVERY: Final = 0.25
"""Seconds between two looks at what was said of jobs, however much is said."""


@dataclass(slots=True)
class _Judged:
    generation: int
    limits: Limits
    judge: Judge


class Sampler:
    """Finds out who has reached a limit of its queue, and tells the engine. `read` is `procq.core.usage`."""

    def __init__(
        self, engine: Engine, read: Read, *, every: float = EVERY, looks: int = LOOKS, window: float = CPU_WINDOW
    ) -> None:
        self._engine = engine
        self._read = read
        self._every = every
        self._looks, self._window = looks, window
        self._judged: dict[WorkerId, _Judged] = {}
        self._limits: Mapping[str, Limits] = {}
        self._measured = False
        self._look_at = self._reports_at = engine.now
        self._reported: set[WorkerId] = set()
        self._late: dict[WorkerId, float] = {}
        self._changed = True
        self._work = asyncio.Event()

    async def run(self) -> None:
        """Runs until it is cancelled."""
        unsubscribe = self._engine.subscribe(self._happened)
        try:
            while True:
                if self._changed:
                    self._take_up()
                if self._limits and self._engine.complete and not self._engine.shutting_down:
                    if self._measured and self._engine.now >= self._look_at:
                        self._look_at = self._engine.now + self._every
                        await self._look()
                    if self._engine.now >= min((self._reports_at, *self._late.values())):
                        self._reports_at = self._engine.now + _REPORTS_EVERY
                        self._judge_reports()
                    await self._wait(self._due())
                else:
                    await self._wait(None)
        finally:
            unsubscribe()

    def _happened(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case IntentChanged() | Snapshot():
                    self._changed = True
                    self._work.set()
                case Reported(worker=worker) if worker.queue in self._limits:
                    self._reported.add(worker)
                    self._work.set()

    def _take_up(self) -> None:
        """Other limits, or another picture of what runs: everything that was said counts anew."""
        view = self._engine.snapshot()
        self._changed, self._limits = False, _limits(view)
        self._measured = any(_is_measured(limits) for limits in self._limits.values())
        queues = view.observed.queues
        self._reported = {WorkerId(q, slot) for q in self._limits if q in queues for slot in queues[q].reports}
        self._late = {}

    def _due(self) -> float | None:
        times = [*self._late.values()]
        if self._measured:
            times.append(self._look_at)
        if self._reported:
            times.append(self._reports_at)
        return min(times, default=None)

    async def _wait(self, until: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(None if until is None else max(0.0, until - self._engine.now)):
                await self._work.wait()
        self._work.clear()

    # --- what they use ------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Measures all workers in one go, in a thread, and judges those whose queues have limits."""
        queues = self._engine.snapshot().observed.queues
        workers = list(_running(queues))
        roots = [(state.pid, _memory(self._limits.get(worker.queue))) for worker, state in workers]
        used = await asyncio.to_thread(self._read, roots)
        now, judged = self._engine.now, self._judged
        self._judged = {}
        for (worker, state), each in zip(workers, used, strict=True):
            limits = self._limits.get(worker.queue)
            if limits is None or not _is_measured(limits):
                continue
            known = judged.get(worker)
            if known is None or known.generation != state.generation or known.limits != limits:
                known = _Judged(state.generation, limits, Judge(self._looks, self._window))
            self._judged[worker] = known
            verdict = known.judge.look(each, limits, now)
            if verdict is not None:
                self._condemn(worker, state, verdict, now)

    # --- what they say ------------------------------------------------------------------------------------------

    def _judge_reports(self) -> None:
        """Judges what was said since the last time, and whose job has taken too long meanwhile."""
        queues, now = self._engine.snapshot().observed.queues, self._engine.now
        late = {worker for worker, at in self._late.items() if at <= now}
        reported, self._reported = self._reported | late, set()
        for worker in reported:
            self._late.pop(worker, None)
            limits, queue = self._limits.get(worker.queue), queues.get(worker.queue)
            report = None if queue is None else queue.reports.get(worker.slot)
            state = None if queue is None else queue.workers.get(worker.slot)
            if limits is None or report is None or not isinstance(state, Running):
                continue
            if state.generation != report.generation:
                continue
            verdict = judge_report(report, limits, now)
            if verdict is not None:
                self._condemn(worker, state, verdict, now)
            at = late_at(report, limits)
            if at is not None and at > now:
                self._late[worker] = at

    def _condemn(self, worker: WorkerId, state: Running, verdict: Verdict, now: float) -> None:
        """Said once, and again where it is more urgent than what was said before."""
        if state.doomed is None or verdict.why.urgency > state.doomed.why.urgency:
            self._engine.handle([Condemned(worker, state.generation, verdict.why, verdict.detail, now)])


def _limits(view: StateView) -> Mapping[str, Limits]:
    """The limits of queues that have any which somebody has to look at."""
    queues = {} if view.intent is None else view.intent.manifest.queues
    return {name: queue.limits for name, queue in queues.items() if _is_looked_at(queue.limits)}


def _is_measured(limits: Limits) -> bool:
    return limits.memory is not None or limits.cpu is not None or limits.pids is not None


def _is_looked_at(limits: Limits) -> bool:
    return _is_measured(limits) or limits.jobs is not None or limits.job_timeout is not None


def _memory(limits: Limits | None) -> int:
    """Above what it matters how memory is shared: somewhere for those that are judged, nowhere for the others."""
    if limits is None or not _is_measured(limits):
        return NO_LIMIT
    return NO_LIMIT - 1 if limits.memory is None else limits.memory


def _running(queues: Mapping[str, QueueState]) -> Iterator[tuple[WorkerId, Running]]:
    for name, queue in queues.items():
        for slot, state in queue.workers.items():
            if isinstance(state, Running):
                yield WorkerId(name, slot), state
