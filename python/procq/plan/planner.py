"""The planner: what to do so that what runs becomes what is wanted.

Pure and level-triggered: it looks at the whole queue each time, and what happened before does not matter.
Time is an argument. Nothing is asked for twice, since requests are part of what is observed from the moment they are
recorded. Slots fill from the lowest; a smaller count removes the highest and touches nobody else. Workers whose command
has changed are replaced in batches (`rollout`), queues wait for each other when they start and stop (`waves`).
After the keeper began to shut down nothing is planned at all: it stops everything itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import assert_never

from procq.endings import Doom
from procq.intent import DesiredQueue, Intent, desired_queue
from procq.model import StopPolicy, WorkerId
from procq.plan.actions import (
    NOTHING,
    Action,
    Configure,
    Delay,
    Forget,
    MarkReady,
    Park,
    Plan,
    QueuePlan,
    Reason,
    Retire,
    Spawn,
    Stop,
)
from procq.plan.budget import above, spare
from procq.plan.crew import extras, leavers, places, speaks
from procq.plan.dooms import doom_of, end_of_age, youngest_end
from procq.plan.parking import ANSWERS_WITHIN, Go, Tell, Wait, farewell
from procq.plan.readiness import Deadline, Due, outlook, slowest_start
from procq.plan.restarts import Rest, StartAgain, verdict
from procq.plan.rollout import Standing, halted, is_old, is_outdated, standing, surge, survey
from procq.plan.slow_start import is_suspect, trial
from procq.plan.starts import NO_STARTS, Starts, admit
from procq.plan.waves import NO_SUCH, anew, leaving, stops_later, waits_for
from procq.state import (
    CALM,
    EMPTY_QUEUE,
    Backoff,
    Dead,
    Draining,
    Ended,
    Finished,
    Observed,
    QueueState,
    Running,
    Starting,
    Stopping,
    WorkerState,
)

_USEFUL = frozenset((Standing.COMING, Standing.FAILING, Standing.ARRIVED))
"""What an extra worker may be."""


def plan(desired: Intent, observed: Observed, starts: Starts = NO_STARTS) -> Plan:
    """What to do about all queues: those of the manifest in its order, then those it does not have any more.

    `starts` are those that were made of late: no more are planned than may follow them at once.
    """
    if observed.shutting_down:
        return Plan()
    names = dict.fromkeys(chain(desired.manifest.queues, observed.queues))
    known = {name: (desired_queue(desired, name), observed.queues.get(name, EMPTY_QUEUE)) for name in names}
    left = {name: wave for name, pair in known.items() if (wave := leaving(*pair)) is not None}
    bears = spare(desired)
    extra = {} if bears is None else {name: above(*pair) for name, pair in known.items()}
    plans: list[QueuePlan] = []
    for name, (queue, state) in known.items():
        after = () if queue is None else waits_for(queue, state, lambda other: known.get(other, NO_SUCH))
        later = bool(after), stops_later(left.get(name), left)
        room = None if bears is None else bears - sum(extra.values()) + extra[name]
        plans.append(plan_queue(name, queue, state, observed.now, *later, room))
        if bears is not None:
            extra[name] += spawned_above(queue, plans[-1])
    rate, now = desired.manifest.starts, observed.now
    wishes = {name: number for name, p in zip(known, plans, strict=True) if (number := _spawns(p))}
    granted, after_them = admit(wishes, starts, rate, now)
    wakes = [p.wake_at for p in plans if p.wake_at is not None]
    if granted != wishes:
        wakes.append(after_them.next_at(rate, now))
    limited = (_limited(p, granted.get(name, 0)) for name, p in zip(known, plans, strict=True))
    return Plan(tuple(chain.from_iterable(limited)), min(wakes, default=None))


def _spawns(planned: QueuePlan) -> int:
    return sum(isinstance(action, Spawn) for action in planned.actions)


def _limited(planned: QueuePlan, starts: int) -> Iterator[Action]:
    """The actions of a plan with the first of its starts only."""
    for action in planned.actions:
        if isinstance(action, Spawn):
            starts -= 1
            if starts < 0:
                continue
        yield action


def plan_queue(
    name: str,
    desired: DesiredQueue | None,
    observed: QueueState,
    now: float,
    start_later: bool = False,
    stop_later: bool = False,
    room: int | None = None,
) -> QueuePlan:
    """What to do about one queue at `now`; `desired` is None for one that should not be.

    `start_later` and `stop_later` when other queues hold it back, as `procq.plan.waves` finds out. The machine has
    `room` for so many workers more than are wanted.
    """
    if desired is None:
        return _remove(name, observed, stop_later)
    crew = places(desired, observed)
    surplus = _surplus(observed, crew)
    going = leavers(desired, observed, crew, surplus) if surplus else []
    look = _Look(desired, observed, now, start_later, stop_later, room, crew, frozenset(going))
    workers, fingerprint, settings = observed.workers, desired.fingerprint, desired.settings
    for slot in (*crew, *reversed(surplus)):
        if slot in look.going:
            continue
        state = workers.get(slot)
        # The quick way for nearly all slots of nearly all looks; `look.slot` would find nothing to do either.
        settled = type(state) is Running and state.settings is settings and state.fingerprint == fingerprint
        if not (settled and look.hands_off and state.ready is not None and state.doomed is state.parked is None):  # type: ignore[union-attr]
            look.slot(slot, state)
    if look.old or going:
        going = look.roll_out(going)
    look.try_again()
    for slot in going:
        look.take_out(slot)
    if not look.actions and look.wake_at is None and not look.old and not look.held:
        return NOTHING
    return QueuePlan(tuple(look.actions), look.wake_at, tuple(look.old), look.held, look.halted, look.short)


@dataclass(slots=True)
class _Look:
    """One look at a queue: what is found out on the way from slot to slot."""

    desired: DesiredQueue
    observed: QueueState
    now: float
    start_later: bool = False
    stop_later: bool = False
    room: int | None = None
    crew: Sequence[int] = ()
    going: frozenset[int] = frozenset()
    actions: list[Action] = field(default_factory=list)
    wake_at: float | None = None
    old: list[int] = field(default_factory=list)
    held: bool = False
    halted: str = ""
    short: bool = False
    tries: list[tuple[float, WorkerId, Dead, StartAgain]] = field(default_factory=list)
    hands_off: bool = True

    def __post_init__(self) -> None:
        adjustment = self.desired.adjustment
        stopped = adjustment.stopped or adjustment.stopped_slots or adjustment.paused or adjustment.paused_slots
        by_hand = stopped or adjustment.restart or adjustment.roll
        parked = any(report.parked for report in self.observed.reports.values())
        self.hands_off = not (by_hand or parked) and self.desired.queue.limits.age is None

    def slot(self, slot: int, state: WorkerState | None) -> None:
        worker = WorkerId(self.desired.queue.name, slot)
        match state:
            case None if self.desired.stopped(slot):
                pass
            case None if self.start_later:
                self.held = True
            case None:
                self._spawn(worker, Reason.WANTED)
            case Starting() | Running():
                self._alive(worker, state)
            case Stopping() | Draining():
                pass
            case Finished() if self.start_later and anew(state) and not self.desired.stopped(slot):
                self.held = True
                self.actions.append(Forget(worker, state.generation, Reason.WANTED))
            case Ended() | Backoff() | Finished():
                self._dead(worker, state)
            case _:
                assert_never(state)

    def _spawn(self, worker: WorkerId, reason: Reason, attempt: int = 0) -> None:
        desired = self.desired
        parked = desired.paused(worker.slot)
        spawn = Spawn(worker, desired.queue, desired.fingerprint, desired.settings, reason, attempt, parked)
        self.actions.append(spawn)
        self._wake(self.now + slowest_start(desired))

    def _alive(self, worker: WorkerId, state: Starting | Running) -> None:
        stopped = self.desired.stopped(worker.slot)
        if stopped and not self.stop_later:
            self.actions.append(_stop(worker, state, Reason.STOPPED))
        elif self.desired.adjustment.restart.covers(worker.slot, state.generation):
            self.actions.append(_stop(worker, state, Reason.ASKED))
        elif self._failed(worker, state):
            pass
        elif stopped:
            self.held = True
        elif self.wants(worker.slot) and is_old(self.desired, worker.slot, state, self.now):
            self.old.append(worker.slot)
        else:
            self._wake_for_age(worker, state)
            self._park_or_resume(worker, state)
            if state.settings != self.desired.settings:
                self._configure(worker, state)

    def wants(self, slot: int) -> bool:
        """Whether this slot is none of an extra worker."""
        return slot not in self.going

    def _park_or_resume(self, worker: WorkerId, state: Starting | Running) -> None:
        """A worker that stays takes jobs, unless somebody has paused it."""
        if not isinstance(state, Running):
            return
        paused, report = self.desired.paused(worker.slot), self.observed.reports.get(worker.slot)
        speaking = report if speaks(state, report) else None
        if paused and state.parked is None and speaking is not None:
            self.actions.append(Park(worker, state.generation, True, Reason.PAUSED))
        elif not paused and (state.parked is not None or (speaking is not None and speaking.parked)):
            # One that was started paused and is not to be any more was told by nobody that we know of.
            self.actions.append(Park(worker, state.generation, False, Reason.NEEDED))

    def _leave(self, worker: WorkerId, state: Starting | Running, stop: Stop, urgent: bool = False) -> None:
        """Stops a worker once it is at no job, where that can be known."""
        match Go() if urgent else farewell(state, self.observed.reports.get(worker.slot), self.now):
            case Go():
                self.actions.append(stop)
            case Tell():
                self.actions.append(Park(worker, state.generation, True, stop.reason))
                self._wake(self.now + ANSWERS_WITHIN)
            case Wait(until):
                self._wake(until)

    def take_out(self, slot: int) -> None:
        """Takes out a worker that is more than wanted, or what is left of it."""
        worker, state = WorkerId(self.desired.queue.name, slot), self.observed.workers[slot]
        at_once = self.desired.stopped(slot) or self.desired.adjustment.restart.covers(slot, state.generation)
        if isinstance(state, Running) and fault_of(state) is None and not at_once:
            self._leave(worker, state, _stop(worker, state, Reason.SURPLUS))
        else:
            self.actions.extend(_take_out(worker, state, Reason.SURPLUS))

    def _failed(self, worker: WorkerId, state: Starting | Running) -> bool:
        """Stops a worker that has failed or is not ready in time, marks one that time alone has made ready."""
        if (fault := fault_of(state)) is not None:
            self.actions.append(fault_stop(worker, state, fault))
            return True
        match outlook(self.desired, worker, state):
            case Deadline(at, fault) if at <= self.now:
                self.actions.append(fault_stop(worker, state, fault))
                return True
            case Due(at) if at <= self.now:
                self.actions.append(MarkReady(worker, state.generation, at, Reason.READY))
            case Deadline(at) | Due(at):
                self._wake(at)
        return False

    def _wake_for_age(self, worker: WorkerId, state: Starting | Running) -> None:
        age = self.desired.queue.limits.age
        if age is None or not isinstance(state, Running) or not self.wants(worker.slot):
            return
        # The exact time costs more to find out than most of them are worth.
        if self.wake_at is None or youngest_end(age, state) < self.wake_at:
            self._wake(end_of_age(age, worker, state))

    def _configure(self, worker: WorkerId, state: Starting | Running) -> None:
        reason = Reason.UNKNOWN_SETTINGS if state.settings is None else Reason.SETTINGS
        self.actions.append(Configure(worker, state.generation, self.desired.settings, reason))

    def roll_out(self, above: list[int]) -> list[int]:
        """Takes out the old workers whose turn it is; returns which of the slots that are to go (`above`) do go."""
        extra = surge(self.desired, self.room)
        self.short = bool(self.old) and extra < surge(self.desired)
        if not self.old and not extra:
            return above
        found = survey(self.desired, self.observed, self.now, self.start_later, self.room)
        if found.halted:
            self.halted = halted(self.desired, self.observed, found)
        self._wake(found.wake_at)
        for slot in self.old:
            self._replace(slot, slot in found.take)
        beside = extras(self.desired, self.crew, extra)
        if self.old:
            kept = [slot for slot in beside if not (self._foreign(slot) or self.desired.stopped(slot))]
        else:
            # The last ones are on their way: whoever stands in for one of them stays until it has arrived.
            mine = [slot for slot in sorted(above) if slot in beside and self._stands_in(slot)]
            kept = mine[: found.missing]
        for slot in kept:
            self.slot(slot, self.observed.workers.get(slot))
        return [slot for slot in above if slot not in kept]

    def _replace(self, slot: int, now: bool) -> None:
        state, worker = self.observed.workers[slot], WorkerId(self.desired.queue.name, slot)
        assert isinstance(state, Starting | Running)
        changed = state.fingerprint != self.desired.fingerprint
        doomed = doom_of(self.desired, slot, state, self.now)
        if now and doomed is not None and not is_outdated(self.desired, slot, state):
            stop = Stop(worker, state.generation, grace(state), Reason.LIMIT, limit=str(doomed))
            # Memory that grows does not wait.
            self._leave(worker, state, stop, urgent=doomed.why is Doom.MEMORY)
        elif now:
            self._leave(worker, state, _stop(worker, state, Reason.CHANGED if changed else Reason.ASKED))
        else:
            self._park_or_resume(worker, state)
        if not now and not changed and state.settings != self.desired.settings:
            # Another program keeps the settings it was started with: a new stop signal need not mean the same to it.
            self._configure(worker, state)

    def _foreign(self, slot: int) -> bool:
        """Whether a slot above the count holds a worker that is no good as an extra one."""
        state = self.observed.workers.get(slot)
        return isinstance(state, Starting | Running) and not self._stands_in(slot)

    def _stands_in(self, slot: int) -> bool:
        return standing(self.desired, self.observed, slot, self.now) in _USEFUL

    def _wake(self, at: float | None) -> None:
        if at is not None:
            self.wake_at = at if self.wake_at is None else min(self.wake_at, at)

    def _dead(self, worker: WorkerId, state: Dead) -> None:
        streak = self.observed.streaks.get(worker.slot, CALM)
        match verdict(worker, self.desired, state, streak):
            case StartAgain(at, attempt) as again if at <= self.now and attempt and is_suspect(streak):
                self.tries.append((at, worker, state, again))
            case StartAgain(at, attempt, reason) if at <= self.now:
                self._spawn(worker, reason, attempt)
            case StartAgain(at) as again:
                self._wake(at)
                self._delay(worker, state, again)
            case Rest(why, reason):
                if not (isinstance(state, Finished) and state.why is why):
                    self.actions.append(Retire(worker, state.generation, why, reason))

    def _delay(self, worker: WorkerId, state: Dead, again: StartAgain) -> None:
        if not (isinstance(state, Backoff) and (state.until, state.attempt) == (again.at, again.attempt)):
            self.actions.append(Delay(worker, state.generation, again.at, again.attempt, again.reason))

    def try_again(self) -> None:
        """Of those that failed again and again as many start as there is evidence that they may work."""
        if not self.tries:
            return
        trying, healthy, shows_at = trial(self.desired, self.observed, self.now)
        may = max(1, healthy) - trying
        for _, worker, state, again in sorted(self.tries, key=lambda each: each[:2]):
            if may > 0:
                self._spawn(worker, again.reason, again.attempt)
                may -= 1
            else:
                self._wake(shows_at)
                self._delay(worker, state, again)


def _surplus(observed: QueueState, crew: Sequence[int]) -> list[int]:
    """Slots that are not wanted, the highest first."""
    if isinstance(crew, range) and max(observed.workers, default=0) <= len(crew):
        return []
    wanted = crew if isinstance(crew, range) else set(crew)
    return sorted((slot for slot in observed.workers if slot not in wanted), reverse=True)


def _remove(name: str, observed: QueueState, stop_later: bool) -> QueuePlan:
    slots = sorted(observed.workers, reverse=True)
    takes = (_take_out(WorkerId(name, slot), observed.workers[slot], Reason.REMOVED) for slot in slots)
    actions = tuple(a for a in chain.from_iterable(takes) if not (stop_later and isinstance(a, Stop) and not a.fault))
    return QueuePlan(actions, held=stop_later)


def _take_out(worker: WorkerId, state: WorkerState, reason: Reason) -> Iterator[Action]:
    match state:
        case Starting() | Running():
            fault = fault_of(state)
            yield _stop(worker, state, reason) if fault is None else fault_stop(worker, state, fault)
        case Stopping() | Draining():
            return
        case Ended() | Backoff() | Finished():
            yield Forget(worker, state.generation, reason)
        case _:
            assert_never(state)


def _stop(worker: WorkerId, state: Starting | Running, reason: Reason) -> Stop:
    return Stop(worker, state.generation, grace(state), reason)


def fault_of(state: Starting | Running) -> str | None:
    """What a worker is condemned for, where that is its own fault."""
    doomed = state.doomed if isinstance(state, Running) else None
    return None if doomed is None or not doomed.why.fault else str(doomed)


def fault_stop(worker: WorkerId, state: Starting | Running, fault: str) -> Stop:
    """The stop of a worker that has failed; its end counts as a failure."""
    return Stop(worker, state.generation, grace(state), Reason.FAULTY, fault)


def spawned_above(desired: DesiredQueue | None, planned: QueuePlan) -> int:
    """Workers that a plan adds to those a queue has more than it wants."""
    wanted = 0 if desired is None else desired.workers
    return sum(isinstance(action, Spawn) and action.worker.slot > wanted for action in planned.actions)


def grace(state: WorkerState) -> float:
    """Seconds that a worker has to leave, as far as that is known."""
    settings = state.settings if isinstance(state, Starting | Running) else None
    return StopPolicy().grace if settings is None else settings.stop.grace
