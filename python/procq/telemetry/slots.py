"""The spans of each slot: starts, stops, and what follows an end that nobody has asked for. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from procq.endings import ExitStatus, SpawnFailure
from procq.events import (
    BecameReady,
    Condemned,
    Delayed,
    Executing,
    Exited,
    Forgotten,
    Gone,
    ParkRequested,
    Refused,
    Retired,
    Snapshot,
    SpawnFailed,
    SpawnRequested,
    StopRequested,
    StopSignalled,
    Stuck,
    WorkerEvent,
)
from procq.model import Spawned, WorkerId
from procq.plan import Reason
from procq.state import Dead, Resting, Running
from procq.telemetry.spans import Context, Open, Spans

_LIFE: Final = 3
"""Spans of a restart: itself, the start in it, and readiness in that."""


@dataclass(slots=True)
class _Slot:
    generation: int = 0
    restart: Open | None = None
    start: Open | None = None
    ready: Open | None = None
    stop: Open | None = None
    at_once: bool = False
    """Whether execution is all that makes the worker ready."""
    last: Context | None = None
    started: Context | None = None

    @property
    def busy(self) -> bool:
        return self.start is not None or self.stop is not None or self.restart is not None


class Slots:
    """The spans that are about one worker each."""

    def __init__(self, spans: Spans, life: Callable[[int], Context]) -> None:
        """`life` has the ids of the life of a generation."""
        self._spans = spans
        self._life = life
        self._slots: dict[WorkerId, _Slot] = {}
        self._busy: Counter[str] = Counter()
        self.shutting_down = False

    def busy(self, queue: str) -> bool:
        """Whether a worker of it is on its way, in or out."""
        return self._busy[queue] > 0

    def context(self, worker: WorkerId) -> Context | None:
        """The span that is about the worker now, or was last."""
        slot = self._slots.get(worker)
        return None if slot is None else slot.last

    def starting(self, worker: WorkerId) -> Context | None:
        """The span of the start that the worker is in."""
        slot = self._slots.get(worker)
        return slot.start.context if slot is not None and slot.start is not None and slot.start.kept else None

    def happened(self, event: WorkerEvent, cause: Open | None) -> None:
        """`cause` is what a request is below, where it is not for an end that nobody has asked for."""
        slot = self._slots.get(event.worker)
        if slot is None:
            slot = self._slots[event.worker] = _Slot(event.generation)
        if event.generation < slot.generation:
            return
        before = slot.busy
        self._take(slot, event, cause)
        self._busy[event.worker.queue] += slot.busy - before
        if isinstance(event, Forgotten):
            self._slots.pop(event.worker, None)
        if not self._busy[event.worker.queue]:
            del self._busy[event.worker.queue]

    def found(self, snapshot: Snapshot) -> None:
        """After a gap, or at the start: what of the spans that are open is over."""
        states = dict(snapshot.workers)
        for worker, slot in list(self._slots.items()):
            state = states.get(worker)
            if state is not None and state.generation == slot.generation and not isinstance(state, Dead):
                if isinstance(state, Running) and state.ready is not None:
                    self._started(slot, state.ready)
                continue
            if state is None and slot.generation > snapshot.last_generation:
                continue  # on its way to the keeper
            for span in (slot.ready, slot.start, slot.stop, slot.restart):
                if span is not None:
                    span.attributes["procq.lost"] = True
                    self._spans.end(span, snapshot.at)
            slot.ready = slot.start = slot.stop = slot.restart = None
            if state is None:
                del self._slots[worker]
        self._busy = Counter(worker.queue for worker, slot in self._slots.items() if slot.busy)

    # --- one event ----------------------------------------------------------------------------------------------

    def _take(self, slot: _Slot, event: WorkerEvent, cause: Open | None) -> None:
        match event:
            case SpawnRequested():
                self._spawn(slot, event, cause)
            case Executing(pid=pid, at=at):
                self._execute(slot, event, pid, at)
            case BecameReady(at=at):
                self._started(slot, at)
            case ParkRequested():
                self._park(slot, event, cause)
            case StopRequested():
                self._stop(slot, event, cause)
            case StopSignalled(at=at):
                self._signalled(slot, event, at, cause)
            case _:
                self._take_end(slot, event)

    def _take_end(self, slot: _Slot, event: WorkerEvent) -> None:
        match event:
            case Exited(status=outcome, at=at) | SpawnFailed(failure=outcome, at=at):
                self._ended(slot, event, outcome, at)
            case Gone(killed=killed, at=at):
                self._gone(slot, killed, at)
            case Retired(why=why, at=at):
                self._rest(slot, why, at)
            case Forgotten(at=at):
                self._over(slot, at)
            case Refused(why=why, at=at):
                self._failed_start(slot, at, f"refused: {why}")
            case Condemned(why=why, at=at) | Stuck(what=why, at=at):
                self._note(slot, type(event).__name__.lower(), at, why=str(why))
            case Delayed(until=until, attempt=attempt, at=at):
                self._note(slot, "delayed", at, seconds=round(max(0.0, until - at), 3), attempt=attempt)

    def _begin(self, slot: _Slot, name: str, at: float, event: WorkerEvent, *above: Any, **attributes: Any) -> Open:
        worker = event.worker
        span = self._spans.begin(name, at, *above, queue=worker.queue, slot=worker.slot, **attributes)
        if span.kept:
            slot.last = span.context
        return span

    @staticmethod
    def _note(slot: _Slot, name: str, at: float, **attributes: str | int | float) -> None:
        span = slot.stop or slot.start or slot.restart
        if span is not None:
            span.moment(name, at, **attributes)

    # --- starts -------------------------------------------------------------------------------------------------

    def _spawn(self, slot: _Slot, event: SpawnRequested, cause: Open | None) -> None:
        slot.generation = event.generation
        slot.at_once = isinstance(event.settings.ready.check, Spawned)
        above, budget = (cause, _LIFE - 1) if slot.restart is None else (slot.restart, 0)
        slot.start = self._begin(
            slot,
            "procq.worker.start",
            event.at,
            event,
            above,
            (self._life(event.generation),),
            budget=budget,
            generation=event.generation,
            reason=str(event.reason),
        )

    def _execute(self, slot: _Slot, event: WorkerEvent, pid: int, at: float) -> None:
        if slot.start is None:
            return
        slot.start.moment("executing", at)
        slot.start.attributes["process.pid"] = pid
        slot.ready = self._begin(slot, "procq.worker.ready", at, event, slot.start, generation=event.generation)
        if slot.at_once:
            self._started(slot, at)

    def _started(self, slot: _Slot, at: float) -> None:
        if slot.start is not None:
            slot.started = slot.start.context if slot.start.kept else None
        for span in (slot.ready, slot.start, slot.restart):
            if span is not None:
                self._spans.end(span, at)
        slot.ready = slot.start = slot.restart = None

    def _failed_start(self, slot: _Slot, at: float, why: str) -> None:
        for span in (slot.ready, slot.start, slot.restart):
            if span is not None:
                self._spans.end(span, at, why)
        slot.ready = slot.start = slot.restart = None

    # --- stops --------------------------------------------------------------------------------------------------

    def _park(self, slot: _Slot, event: ParkRequested, cause: Open | None) -> None:
        """It is to leave once it has finished its job, unless somebody has only paused its queue."""
        if event.parked and event.reason != Reason.PAUSED and slot.stop is None:
            self._leave(slot, event, cause, event.reason)
            self._note(slot, "parked", event.at)
        elif not event.parked and slot.stop is not None:
            self._note(slot, "resumed", event.at)
            self._spans.end(slot.stop, event.at)
            slot.stop = None

    def _stop(self, slot: _Slot, event: StopRequested, cause: Open | None) -> None:
        why = event.fault or event.limit
        if slot.start is not None:
            # It was not ready yet, and no longer has to be.
            self._failed_start(slot, event.at, event.fault)
        if why and slot.restart is None and not self.shutting_down:
            slot.restart = self._restart(slot, event, why, event.at)
        if slot.stop is None:
            self._leave(slot, event, slot.restart or cause, event.reason)
        self._note(slot, "asked to leave", event.at, grace=round(event.deadline - event.at, 3))

    def _leave(self, slot: _Slot, event: WorkerEvent, above: Open | None, reason: str) -> None:
        slot.generation = event.generation
        budget = 1 if above is None or above is not slot.restart else 0
        slot.stop = self._begin(
            slot,
            "procq.worker.stop",
            event.at,
            event,
            above,
            budget=budget,
            generation=event.generation,
            reason=str(reason),
        )

    def _signalled(self, slot: _Slot, event: WorkerEvent, at: float, cause: Open | None) -> None:
        if slot.stop is None and self.shutting_down:
            self._leave(slot, event, cause, "everything is being stopped")
        if slot.stop is not None:
            slot.stop.moment("signalled", at)

    # --- ends ---------------------------------------------------------------------------------------------------

    def _ended(self, slot: _Slot, event: WorkerEvent, outcome: ExitStatus | SpawnFailure, at: float) -> None:
        if slot.stop is not None:
            slot.stop.moment("exited", at, end=str(outcome))
            return
        failed = not (isinstance(outcome, ExitStatus) and outcome.success)
        self._failed_start(slot, at, str(outcome) if failed else "")
        if not self.shutting_down:
            slot.restart = self._restart(slot, event, str(outcome), at)

    def _restart(self, slot: _Slot, event: WorkerEvent, why: str, at: float) -> Open:
        links = () if slot.started is None else (slot.started,)
        name, generation = "procq.worker.restart", event.generation
        return self._begin(slot, name, at, event, None, links, _LIFE, generation=generation, reason=why)

    def _gone(self, slot: _Slot, killed: int, at: float) -> None:
        if slot.stop is None:
            return
        if killed:
            slot.stop.attributes["procq.killed"] = killed
        self._spans.end(slot.stop, at)
        slot.stop = None

    def _rest(self, slot: _Slot, why: Resting, at: float) -> None:
        if slot.restart is not None:
            slot.restart.attributes["procq.rests"] = str(why)
        self._over(slot, at, f"procq {why}" if why in (Resting.FAILED, Resting.GAVE_UP) else "")

    def _over(self, slot: _Slot, at: float, error: str = "") -> None:
        for span in (slot.ready, slot.start, slot.stop, slot.restart):
            if span is not None:
                self._spans.end(span, at, error)
        slot.ready = slot.start = slot.stop = slot.restart = None
