"""What is only told while it happens, added up: how long starts take, how workers end, what scaling decides.

It learns from the events of the engine, and begins at nothing with each control plane. No clock, no I/O.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from procq.endings import ExitStatus
from procq.events import BecameReady, Event, Executing, Exited, Forgotten, SpawnFailed, SpawnRequested, StopRequested
from procq.meter import Load
from procq.model import WorkerId
from procq.telemetry.histogram import LAGS, STARTS, Buckets, Histogram
from procq.telemetry.volume import Volume

if TYPE_CHECKING:
    from procq.engine.view import StateView
    from procq.scaling.policy import Decision, Signals

_MOST_QUEUES: Final = 20_000
"""Queues of which something is remembered, those that are gone included."""


class Cause(StrEnum):
    """Why a worker ended."""

    ASKED = "asked"
    """It was told to leave: its queue wants fewer, or others, or none."""
    LIMIT = "limit"
    """It was told to leave because it had reached a limit."""
    FAULT = "fault"
    """It was told to leave because it had failed a check."""
    COMPLETED = "completed"
    """By itself, with code 0."""
    FAILED = "failed"
    """By itself, with another code."""
    KILLED = "killed"
    """By a signal that procq did not send."""
    MEMORY = "out_of_memory"
    """The kernel had no memory left for it."""
    NOT_STARTED = "not_started"
    """Its program was never executed."""


class Limit(StrEnum):
    """What kept a decision from what the load alone would have had."""

    NONE = "none"
    LEAST = "min"
    MOST = "max"
    BUSY = "busy"
    """Nobody who is at work is stopped."""
    SOURCE = "source"
    """The source fails, and nobody is stopped because of that."""
    HOST = "host"
    """The machine, or what the host may have altogether."""


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """What has come together of one queue. `spawns` and `boots` are None while there was none."""

    exits: Mapping[Cause, int] = field(default_factory=dict)
    decisions: Mapping[tuple[str, Limit], int] = field(default_factory=dict)
    """By the term that decided, and what limited it."""
    spawns: Buckets | None = None
    """Seconds from the request until the program executes."""
    boots: Buckets | None = None
    """Seconds from then until it is ready, where it is not so at once."""


NO_COUNTS: Final = QueueCounts()


@dataclass(frozen=True, slots=True)
class Counts:
    """All of it at one moment. `cpu` is seconds of processor time by worker, since somebody looked first.

    `volumes` is the output of queues, which the keeper counts.
    """

    queues: Mapping[str, QueueCounts] = field(default_factory=dict)
    lag: Buckets | None = None
    cpu: Mapping[WorkerId, float] = field(default_factory=dict)
    volumes: Mapping[str, Volume] = field(default_factory=dict)


NOTHING: Final = Counts()


@dataclass(slots=True)
class _Queue:
    exits: Counter[Cause] = field(default_factory=Counter)
    decisions: Counter[tuple[str, Limit]] = field(default_factory=Counter)
    spawns: Histogram = field(default_factory=lambda: Histogram(STARTS))
    boots: Histogram = field(default_factory=lambda: Histogram(STARTS))

    def counts(self) -> QueueCounts:
        return QueueCounts(dict(self.exits), dict(self.decisions), self.spawns.buckets(), self.boots.buckets())


class Tally:
    """Adds up for all queues, from the events in the order in which they come."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._since: dict[WorkerId, float] = {}
        """When the part of a start began that is under way: the request, or the execution."""
        self._asked: dict[WorkerId, Cause] = {}
        self._lag = Histogram(LAGS)
        self._used: dict[WorkerId, tuple[int, float]] | None = None
        self._cpu: dict[WorkerId, float] = {}

    def happened(self, events: Sequence[Event], now: float) -> None:
        """What has happened, and was answered by `now`, in seconds on the clock of the engine."""
        for event in events:
            match event:
                case SpawnRequested(worker=worker, at=at):
                    self._since[worker] = at
                    self._asked.pop(worker, None)
                case Executing(worker=worker, at=at):
                    self._executing(worker, at)
                    self._lag.add(now - at)
                case BecameReady(worker=worker, at=at):
                    self._ready(worker, at)
                case StopRequested(worker=worker, fault=fault, limit=limit):
                    self._asked[worker] = Cause.FAULT if fault else Cause.LIMIT if limit else Cause.ASKED
                case Exited(worker=worker, status=status, at=at):
                    self._ended(worker, self._asked.get(worker) or _cause(status))
                    self._lag.add(now - at)
                case SpawnFailed(worker=worker):
                    self._ended(worker, Cause.NOT_STARTED)
                case Forgotten(worker=worker):
                    self._forget(worker)

    def decided(self, name: str, decision: Decision, signals: Signals, short: str) -> None:
        """Scaling has decided for a queue; `short` says why it got less, "" where it has not."""
        self._queue(name).decisions[decision.winner, limit(decision, signals, short)] += 1

    def used(self, loads: Mapping[WorkerId, Load], view: StateView) -> None:
        """What workers have used by now, whenever somebody looks.

        A sum never falls, although a child that is not waited for takes its time along. What was used before the first
        look is not counted: the control plane before this one has told it.
        """
        first, before = self._used is None, self._used or {}
        used: dict[WorkerId, tuple[int, float]] = {}
        for worker, load in loads.items():
            state = view.worker(worker)
            generation = 0 if state is None else state.generation
            known, seconds = before.get(worker, (generation, load.seconds if first else 0.0))
            seconds = seconds if known == generation else 0.0
            self._cpu[worker] = self._cpu.get(worker, 0.0) + max(0.0, load.seconds - seconds)
            used[worker] = generation, load.seconds
        self._used = used
        self._cpu = {worker: seconds for worker, seconds in self._cpu.items() if view.worker(worker) is not None}

    def counts(self) -> Counts:
        """All of it now."""
        queues = {name: queue.counts() for name, queue in self._queues.items()}
        return Counts(queues, self._lag.buckets(), dict(self._cpu))

    def _executing(self, worker: WorkerId, at: float) -> None:
        since = self._since.get(worker)
        if since is not None:
            self._queue(worker.queue).spawns.add(at - since)
            self._since[worker] = at

    def _ready(self, worker: WorkerId, at: float) -> None:
        since = self._since.pop(worker, None)
        if since is not None and at > since:
            self._queue(worker.queue).boots.add(at - since)

    def _ended(self, worker: WorkerId, cause: Cause) -> None:
        self._forget(worker)
        self._queue(worker.queue).exits[cause] += 1

    def _forget(self, worker: WorkerId) -> None:
        self._since.pop(worker, None)
        self._asked.pop(worker, None)

    def _queue(self, name: str) -> _Queue:
        found = self._queues.get(name)
        if found is None:
            if len(self._queues) >= _MOST_QUEUES:
                del self._queues[next(iter(self._queues))]
            found = self._queues[name] = _Queue()
        return found


def limit(decision: Decision, signals: Signals, short: str) -> Limit:
    """What has changed the result of a decision last."""
    if short:
        return Limit.HOST
    if decision.target == decision.wanted:
        return Limit.NONE
    if decision.target < decision.wanted:
        return Limit.MOST
    if decision.target == signals.least:
        return Limit.LEAST
    return Limit.SOURCE if signals.stale else Limit.BUSY


def _cause(status: ExitStatus) -> Cause:
    if status.oom:
        return Cause.MEMORY
    return Cause.COMPLETED if status.success else Cause.FAILED if status.code > 0 else Cause.KILLED
