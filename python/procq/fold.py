"""What each event does to the observed state: `fold(observed, event) -> observed`, and the one table under it.

A superseded generation can never publish: an event counts only for the generation that occupies its slot.
A snapshot replaces all that was known, but for what it cannot know: our own requests still on their way,
that an end was asked for, the settings we gave, and the failures counted so far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from procq.endings import EARLIER_FAULT, HEALTHY_AFTER, Doomed, End, ExitStatus, Outcome, Refusal, SpawnFailure
from procq.events import (
    BecameReady,
    Condemned,
    ConfigureRequested,
    Delayed,
    Event,
    Executing,
    Exited,
    Forgotten,
    Gone,
    LogProblem,
    ParkRequested,
    Refused,
    Reported,
    Retired,
    ShuttingDown,
    Snapshot,
    SpawnFailed,
    SpawnRequested,
    StopRequested,
    StopSignalled,
    Stuck,
    Tallied,
    WorkerEvent,
)
from procq.model import MOST_FAILURES, Spawned
from procq.state import (
    CALM,
    NO_JOBS,
    Backoff,
    Draining,
    Ended,
    Finished,
    Jobs,
    LogFailure,
    LogTrouble,
    Observed,
    QueueState,
    Report,
    Running,
    Settings,
    Starting,
    Stopping,
    Streak,
    WorkerState,
)


def transition(state: WorkerState | None, event: WorkerEvent) -> WorkerState | None:
    """The state of a slot after `event`; None is a vacant slot. An event that does not fit changes nothing."""
    if isinstance(event, SpawnRequested):
        assert not isinstance(state, Starting | Running | Stopping | Draining), f"{event.worker} is taken: {state}"
        return Starting(event.generation, event.fingerprint, event.at, event.settings)
    if state is None or state.generation != event.generation:
        return state
    match state:
        case Starting() | Running():
            return _moved(state, event)
        case Stopping():
            return _left(state, event)
        case Draining(generation, fingerprint, end):
            if isinstance(event, Stuck):
                return replace(state, stuck=event.what)
            return Ended(generation, fingerprint, end) if isinstance(event, Gone) else state
        case Ended() | Backoff() | Finished():
            return _decided(state, event)


def _moved(state: Starting | Running, event: WorkerEvent) -> WorkerState:
    return _known_better(state, event) if isinstance(event, _KNOWLEDGE) else _went(state, event)


_KNOWLEDGE = (BecameReady, Condemned, ParkRequested)


def _known_better(state: Starting | Running, event: BecameReady | Condemned | ParkRequested) -> WorkerState:
    """It goes on, and more is known of it; nothing before it executes."""
    if isinstance(state, Starting):
        return state
    match event:
        case BecameReady(at=at):
            return state if state.ready is not None else replace(state, ready=at)
        case Condemned(why=why, detail=detail, at=at):
            return replace(state, doomed=_worse(state.doomed, Doomed(why, detail, at)))
        case ParkRequested(parked=parked, at=at):
            return replace(state, parked=at if parked else None, resumed=None if parked else at)


def _went(state: Starting | Running, event: WorkerEvent) -> WorkerState:
    match event:
        case Executing(_, generation, pid, at) if isinstance(state, Starting):
            executing = Running(generation, state.fingerprint, pid, at, None, state.wave)
            return executing if state.settings is None else _told(executing, state.settings)
        case ConfigureRequested(settings=settings):
            return _told(state, settings)
        case StopRequested(deadline=deadline, reason=reason, fault=fault, limit=limit, surplus=surplus):
            return replace(_asked(state, deadline, reason), fault=fault, limit=limit, surplus=surplus)
        case StopSignalled(deadline=deadline):
            return _asked(state, deadline, "the keeper stops it")
        case Exited(_, generation, status, at):
            return Draining(generation, state.fingerprint, _knowing(state, End(status, state.at, at)), _wave(state))
        case SpawnFailed(_, generation, failure, at) if isinstance(state, Starting):
            return Draining(generation, state.fingerprint, End(failure, state.at, at), _wave(state))
        case Refused(_, generation, why, at) if isinstance(state, Starting):
            return Ended(generation, state.fingerprint, End(Refusal(why), state.at, at))
        case _:
            return state


def _told(state: Starting | Running, settings: Settings | None) -> Starting | Running:
    """The worker under other settings; where these ask for nothing but execution it is, and stays, ready."""
    at_once = settings is not None and isinstance(settings.ready.check, Spawned)
    if at_once and isinstance(state, Running) and state.ready is None:
        return replace(state, settings=settings, ready=state.at)
    return replace(state, settings=settings)


def _asked(state: Starting | Running, deadline: float, reason: str) -> Stopping:
    pid, ready = (state.pid, state.ready) if isinstance(state, Running) else (0, None)
    generation, fingerprint, wave = state.generation, state.fingerprint, _wave(state)
    return Stopping(generation, fingerprint, pid, state.at, deadline, reason, wave, ready=ready)


def _knowing(state: WorkerState, end: End) -> End:
    """The end of a worker with what its last state says about it."""
    match state:
        case Running(settings=settings, ready=ready):
            ready = end.ready if ready is None else ready
            return replace(end, ready=ready, unready=ready is None and settings is not None)
        case Stopping(fault=fault, limit=limit, ready=ready, surplus=surplus):
            ready = end.ready if ready is None else ready
            unready = ready is None and bool(fault)
            end = replace(end, fault=fault, limit=limit, surplus=surplus)
            return replace(end, asked=True, ready=ready, unready=unready)
        case _:
            return end


def _worse(old: Doomed | None, new: Doomed) -> Doomed:
    """The first one stays, unless what comes on top of it is more urgent."""
    return new if old is None or new.why.urgency > old.why.urgency else old


def _wave(state: Starting | Running) -> int:
    return state.wave if state.settings is None else state.settings.wave


def _left(state: Stopping, event: WorkerEvent) -> WorkerState:
    match event:
        case Executing(pid=pid, at=at) if state.pid == 0:
            return replace(state, pid=pid, at=at)
        case StopSignalled(deadline=deadline):
            return replace(state, deadline=deadline)
        case Exited(_, generation, status, at):
            end = _knowing(state, End(status, state.at, at))
            return Draining(generation, state.fingerprint, end, state.wave, state.stuck)
        case SpawnFailed(_, generation, failure, at):
            end = _knowing(state, End(failure, state.at, at))
            return Draining(generation, state.fingerprint, end, state.wave, state.stuck)
        case Refused(_, generation, why, at) if state.pid == 0:
            return Ended(generation, state.fingerprint, _knowing(state, End(Refusal(why), state.at, at)))
        case Stuck(what=what):
            return replace(state, stuck=what)
        case _:
            return state


def _decided(state: Ended | Backoff | Finished, event: WorkerEvent) -> WorkerState | None:
    match event:
        case Delayed(_, generation, until, attempt):
            return Backoff(generation, state.fingerprint, state.end, until, attempt)
        case Retired(_, generation, why):
            return Finished(generation, state.fingerprint, state.end, why)
        case Forgotten():
            return None
        case _:
            return state


def count(streak: Streak, generation: int, end: End) -> Streak:
    """The failures in a row once `generation` ended so. Ends that were asked for, and long lives, begin a new count."""
    if generation <= streak.generation:
        return streak
    if end.asked and not end.fault:
        return Streak(generation=generation)
    # A command that cannot be executed does not get better by being given up: it waits for whoever mends it.
    counts = end.failure and not isinstance(end.outcome, SpawnFailure)
    failures = (*streak.failures, end.at)[-MOST_FAILURES:] if counts else streak.failures
    outcome: Outcome = end.outcome
    match outcome:
        case ExitStatus():
            crashes = 1 if end.well >= HEALTHY_AFTER else streak.crashes + 1
            return Streak(crashes, 0, generation, end.failure, failures)
        case SpawnFailure(transient=False):
            return Streak(streak.crashes, 0, generation, True, failures)
        case SpawnFailure():
            return Streak(streak.crashes, streak.misses + 1, generation, streak.failed, failures)
        case Refusal():
            return Streak(streak.crashes, streak.misses + 1, generation, True, failures)
        case _:
            assert_never(outcome)


@dataclass(slots=True)
class Slots:
    """The slots of one queue while they change. For the engine, which is the only one to keep such a thing."""

    workers: dict[int, WorkerState] = field(default_factory=dict)
    streaks: dict[int, Streak] = field(default_factory=dict)
    trouble: dict[tuple[int, LogFailure], LogTrouble] = field(default_factory=dict)
    reports: dict[int, Report] = field(default_factory=dict)
    past: Jobs = NO_JOBS

    @classmethod
    def of(cls, queue: QueueState) -> Slots:
        """A copy that may be changed."""
        return cls(dict(queue.workers), dict(queue.streaks), dict(queue.trouble), dict(queue.reports), queue.past)

    def frozen(self) -> QueueState:
        """A copy that does not change."""
        return QueueState(dict(self.workers), dict(self.streaks), dict(self.trouble), dict(self.reports), self.past)

    def live(self) -> QueueState:
        """The same without copying, for a reader that is done before the next change."""
        return QueueState(self.workers, self.streaks, self.trouble, self.reports, self.past)

    def apply(self, event: WorkerEvent) -> bool:
        """Folds one event in place; False when it changed nothing."""
        slot = event.worker.slot
        old = self.workers.get(slot)
        new = transition(old, event)
        if new is old:
            return False
        if new is None:
            del self.workers[slot]
            self.streaks.pop(slot, None)
            self._forget_troubles(slot)
            self.reports.pop(slot, None)
            return True
        self.workers[slot] = new
        if isinstance(event, SpawnRequested):
            self.reports.pop(slot, None)
        if isinstance(event, SpawnRequested) and event.fresh:
            self.streaks.pop(slot, None)
        self._count(slot, new)
        return True

    def report(self, slot: int, report: Report) -> bool:
        """Remembers what a worker says of itself, not that of an earlier one in its slot.

        True where that may change what is to be done: it was told to park, or can be told from now on.
        """
        state, former = self.workers.get(slot), self.reports.get(slot)
        if state is None or state.generation != report.generation:
            return False
        self.reports[slot] = report
        told = isinstance(state, Running) and state.parked is not None
        return told or report.parked != (None if former is None else former.parked)

    def tally(self, tallied: Tallied) -> None:
        """Remembers what workers have done that are gone; the last of them is not counted twice."""
        self.past = tallied.past
        for slot, report in list(self.reports.items()):
            if report.generation == tallied.generation:
                del self.reports[slot]

    def note(self, said: LogProblem) -> None:
        """Remembers a trouble with a log file until that ends; not that of a worker which is forgotten."""
        slot = said.worker.slot
        if said.errno and slot in self.workers:
            self.trouble[slot, said.failure] = LogTrouble(said.path, said.errno, said.dropped, said.failure)
        else:
            self.trouble.pop((slot, said.failure), None)

    def _forget_troubles(self, slot: int) -> None:
        for key in [key for key in self.trouble if key[0] == slot]:
            del self.trouble[key]

    def replace_all(self, found: Mapping[int, WorkerState], last_generation: int, at: float) -> None:
        """What a snapshot of `at` says, and our own requests that the keeper had not yet seen."""
        on_their_way = {s: w for s, w in self.workers.items() if w.generation > last_generation}
        merged = {s: self._judged(s, _merged(self.workers.get(s), new, at)) for s, new in found.items()}
        # The troubles that there are now are told after it.
        self.trouble.clear()
        self.workers.clear()
        self.workers.update(merged)
        self.workers.update(on_their_way)
        for slot in merged.keys() - on_their_way.keys():
            self._count(slot, merged[slot])

    def _judged(self, slot: int, state: WorkerState) -> WorkerState:
        """The end of a worker as it was judged before: the keeper knows that it was asked for, and not for what."""
        streak = self.streaks.get(slot, CALM)
        if not isinstance(state, Draining | Ended) or state.end.fault or not state.end.asked:
            return state
        failed = streak.failed and streak.generation == state.generation
        return replace(state, end=replace(state.end, fault=EARLIER_FAULT)) if failed else state

    def _count(self, slot: int, state: WorkerState) -> None:
        if isinstance(state, Draining | Ended):
            self.streaks[slot] = count(self.streaks.get(slot, CALM), state.generation, state.end)


def _merged(old: WorkerState | None, new: WorkerState, at: float) -> WorkerState:
    """A worker of a snapshot of `at`, with what only we know about that generation."""
    if old is None or old.generation != new.generation:
        return replace(new, found=at) if isinstance(new, Running) and new.ready is None else new
    new = _in_its_wave(old, new)
    match new:
        case Starting() | Running():
            return _merged_alive(old, new)
        case Stopping() if isinstance(old, Stopping):
            ready = new.ready if old.ready is None else old.ready
            new = replace(new, reason=old.reason, fault=old.fault, limit=old.limit, surplus=old.surplus)
            return replace(new, stuck=old.stuck, ready=ready)
        case Stopping() if isinstance(old, Running):
            return replace(new, ready=new.ready if old.ready is None else old.ready)
        case Draining() if isinstance(old, Draining):
            return old
        case Ended() if isinstance(old, Draining):
            return replace(new, end=old.end)
        case Ended() if isinstance(old, Ended | Backoff | Finished):
            return old
        case Draining() | Ended():
            return replace(new, end=_knowing(old, new.end))
        case _:
            return new


def _merged_alive(old: WorkerState, new: Starting | Running) -> WorkerState:
    match old:
        case Stopping():
            return replace(old, pid=new.pid if isinstance(new, Running) else 0)
        case Running() if isinstance(new, Running):
            ready = old.ready if new.ready is None else new.ready
            new = replace(new, settings=old.settings, doomed=old.doomed, found=old.found)
            return replace(new, ready=ready, parked=old.parked, resumed=old.resumed)
        case Starting() | Running():
            return _told(new, old.settings)
        case _:
            return new


def _in_its_wave(old: WorkerState, new: WorkerState) -> WorkerState:
    match new, old:
        case Stopping() | Draining(), Starting() | Running():
            return replace(new, wave=_wave(old))
        case Stopping() | Draining(), Stopping():
            return replace(new, wave=old.wave)
        case _:
            return new


def by_queue(snapshot: Snapshot) -> dict[str, dict[int, WorkerState]]:
    """The workers of a snapshot by queue and slot."""
    found: dict[str, dict[int, WorkerState]] = {}
    for worker, state in snapshot.workers:
        found.setdefault(worker.queue, {})[worker.slot] = state
    return found


def fold(observed: Observed, event: Event) -> Observed:
    """The observed state after `event`. Pure: only the queue it is about is copied."""
    match event:
        case ShuttingDown():
            return replace(observed, shutting_down=True)
        case Snapshot(at=at, last_generation=last):
            found = by_queue(event)
            queues = {}
            for name in dict.fromkeys((*observed.queues, *found)):
                slots = Slots.of(observed.queues.get(name, QueueState()))
                slots.replace_all(found.get(name, {}), last, at)
                queues[name] = slots.frozen()
            return replace(observed, now=max(observed.now, at), queues=queues)
        case LogProblem(worker=worker):
            slots = Slots.of(observed.queues.get(worker.queue, QueueState()))
            slots.note(event)
            return replace(observed, queues={**observed.queues, worker.queue: slots.frozen()})
        case Reported(worker=worker, report=report):
            slots = Slots.of(observed.queues.get(worker.queue, QueueState()))
            slots.report(worker.slot, report)
            return replace(observed, queues={**observed.queues, worker.queue: slots.frozen()})
        case Tallied(queue=queue):
            slots = Slots.of(observed.queues.get(queue, QueueState()))
            slots.tally(event)
            return replace(observed, queues={**observed.queues, queue: slots.frozen()})
        case _ if isinstance(event, WorkerEvent):
            slots = Slots.of(observed.queues.get(event.worker.queue, QueueState()))
            if not slots.apply(event):
                return observed
            return replace(observed, queues={**observed.queues, event.worker.queue: slots.frozen()})
        case _:
            return observed
