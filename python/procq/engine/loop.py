"""The engine: the reconcile loop, and the only owner of changing state in the control plane.

`handle` folds what the keeper reports, `change` replaces what is wanted; both only mark queues as dirty. `step` plans
the dirty queues, records every request as an event of its own, and only then sends it, so that no later plan can
repeat what is in flight. Synchronous, without asyncio and without I/O of its own: `driver` gives it turns.

Nothing is planned before the keeper's first snapshot, between a gap and the next one, without an intent, or once
everything is being stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from procq.engine.blob import Memory, Packer, unpack
from procq.engine.order import Order
from procq.engine.port import (
    AnswerPing,
    Clock,
    Command,
    EnginePort,
    MarkWorkerReady,
    ProbeWorker,
    SaveIntent,
)
from procq.engine.requests import translate
from procq.engine.room import Room
from procq.engine.turns import Turns
from procq.engine.view import StateView
from procq.engine.wakes import Wakes
from procq.events import (
    Attached,
    BecameReady,
    Event,
    Fact,
    Gap,
    HandOverAsked,
    Incompatible,
    IntentChanged,
    KeeperEvent,
    LogProblem,
    Pinged,
    Probed,
    Recovered,
    ReloadAsked,
    Reported,
    Request,
    Rescaled,
    RollOutHalted,
    ShuttingDown,
    Snapshot,
    Stray,
    Tallied,
)
from procq.fold import Slots, by_queue
from procq.intent import DesiredQueue, Intent, NoIntent, adopt, desired_queue, rescale, wanted_workers
from procq.intent_codec import Unreadable
from procq.model import Manifest, Spawned, WorkerId
from procq.plain import Plain
from procq.plan import Action, Configure, MarkReady, Retire, Spawn, plan_queue
from procq.plan.diff import Difference, compare
from procq.plan.restarted import Restarted, Restarts, restarted
from procq.plan.waves import Known
from procq.state import EMPTY_QUEUE, Dead, Observed, QueueState, Running, WorkerState

SAVE_EVERY: Final = 2.0
"""Seconds between saving mere counters. A change of the intent is saved at once; so is a restart that comes alone."""
_MOST_STRAYS: Final = 100

Subscriber = Callable[[Sequence[Event]], None]


class Engine:
    """Owns intent and observed state; drives `port` so that the second becomes the first."""

    def __init__(self, port: EnginePort, clock: Clock) -> None:
        self._port = port
        self._clock = clock
        self._intent: Intent | None = None
        self._queues: dict[str, Slots] = {}
        self._frozen: dict[str, QueueState] = {}
        self._dirty: set[str] = set()
        self._halted: set[str] = set()
        self._desired: dict[str, DesiredQueue | None] = {}
        self._wakes = Wakes()
        self._order = Order(self._known)
        self._room = Room(self._known)
        self._turns = Turns()
        self._outbox: list[Command] = []
        self._news: list[Event] = []
        self._subscribers: list[Subscriber] = []
        self._restarts: dict[str, Restarts] = {}
        self._strays: deque[Stray] = deque(maxlen=_MOST_STRAYS)
        self._epoch = self._instance = self._last_generation = 0
        self._complete = self._shutting_down = False
        self.was_ready = False
        """Whether a control plane before this one has declared that everything runs."""
        self._packer = Packer()
        self._unsaved: list[bytes] = []
        self._marks: list[MarkWorkerReady] = []
        self._save_at: float | None = None
        self._saved_at = float("-inf")
        self.learnt: Mapping[str, Plain] = {}
        """What scaling has learnt of each queue: saved with the counters, and there again for the next one."""
        self._on_work: Callable[[], None] = lambda: None
        self.unreadable: str | None = None
        """Why the intent that the keeper held could not be used, if so: every worker is kept until `adopt`."""

    # --- what others see ----------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds on the engine's clock."""
        return self._clock()

    @property
    def intent(self) -> Intent | None:
        """What is wanted; None until a manifest was recovered or adopted."""
        return self._intent

    @property
    def complete(self) -> bool:
        """Whether the picture of what runs is whole."""
        return self._complete

    @property
    def shutting_down(self) -> bool:
        """Whether everything is being stopped; never becomes False again."""
        return self._shutting_down

    @property
    def last_generation(self) -> int:
        """The newest generation so far: the mark for `intent.restart`."""
        return self._last_generation

    @property
    def wake_at(self) -> float | None:
        """When `step` has to be called though nothing happened; None: no need, or nothing can be planned now."""
        if not self._may_plan:
            return None
        return min((t for t in (self._wakes.next, self._save_at) if t is not None), default=None)

    @property
    def _may_plan(self) -> bool:
        return self._complete and not self._shutting_down and self._intent is not None

    def snapshot(self) -> StateView:
        """Everything at this moment, as values that do not change. Copies only queues that changed since the last."""
        for name in self._queues.keys() - self._frozen.keys():
            self._frozen[name] = self._queues[name].frozen()
        return StateView(
            observed=Observed(self.now, {name: self._frozen[name] for name in self._queues}, self._shutting_down),
            intent=self._intent,
            complete=self._complete,
            epoch=self._epoch,
            instance=self._instance,
            last_generation=self._last_generation,
            strays=tuple(self._strays),
            restarts=dict(self._restarts),
            starts=self._turns.starts,
            held=frozenset(self._turns.held),
        )

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Calls `subscriber` at the end of each step with all events since the last; returns how to stop that.

        It must not raise, and must not call back into the engine but for reading.
        """
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    def on_work(self, callback: Callable[[], None]) -> None:
        """Calls `callback` whenever there is something for `step` to do."""
        self._on_work = callback

    def preview(self, manifest: Manifest, changes_only: bool = False) -> Difference:
        """What adopting `manifest` would do; with `changes_only` without the queues that stay as they are.

        Changes nothing.
        """
        after = Intent(manifest) if self._intent is None else adopt(self._intent, manifest)
        only = _differing(self._intent, after) if changes_only and self._intent is not None else None
        return compare(self._intent, after, self.snapshot().observed, only)

    # --- what changes it ----------------------------------------------------------------------------------------

    def handle(self, events: Iterable[KeeperEvent]) -> None:
        """Folds what the keeper reports, and what checks and looks at workers have found out, in order."""
        for event in events:
            self._news.append(event)
            self._fold(event)
        self._on_work()

    def change(self, alter: Callable[[Intent], Intent], reason: str) -> Intent:
        """Replaces the intent by what `alter` makes of it, and returns that.

        Raises NoIntent, TooLarge for one that cannot be saved, and what `alter` raises. `reason` says who
        or what asked, for the journal. The workers follow with the next step.
        """
        if self._intent is None:
            raise NoIntent("there is no manifest in force yet")
        self._replace(alter(self._intent), reason)
        return self._intent

    def adopt(self, manifest: Manifest, reason: str) -> Intent:
        """Puts `manifest` in force; wishes about queues it does not have are dropped.

        Raises TooLarge for one that cannot be saved.
        """
        self._replace(Intent(manifest) if self._intent is None else adopt(self._intent, manifest), reason)
        assert self._intent is not None
        return self._intent

    def rescale(self, targets: Mapping[str, int], reasons: Mapping[str, str]) -> None:
        """Puts other numbers of workers in force that scaling has found right, and says why; the workers follow.

        Nothing before there is an intent. What is lost with this control plane is found again by the next one.
        """
        old = self._intent
        if old is None or (new := rescale(old, targets)) is old:
            return
        self._intent = new
        for name in _differing(old, new):
            before, after = (wanted_workers(each, each.manifest.queues[name]) for each in (old, new))
            if before != after:
                self._news.append(Rescaled(name, before, after, self.now, reasons.get(name, "")))
            self._dirty.add(name)
            self._desired.pop(name, None)
        self._save_at = self.now + SAVE_EVERY if self._save_at is None else self._save_at
        self._on_work()

    def learn(self, learnt: Mapping[str, Plain]) -> None:
        """Keeps what scaling has learnt of each queue, for the control planes that come after this one."""
        if learnt != self.learnt:
            self.learnt = learnt
            self._save_at = self.now + SAVE_EVERY if self._save_at is None else self._save_at

    def send(self, command: Command) -> None:
        """Sends a command that is none of the planner's with the next step: a line to announce, readiness, shutdown."""
        self._outbox.append(command)
        self._on_work()

    def probe(self, worker: WorkerId, argv: Sequence[str], timeout: float) -> int:
        """Runs a command of its queue once, with the next step, to look after `worker`; `Probed` tells how it ended.

        Returns the generation of the probe. Raises KeyError where there is no such queue any more, NoIntent.
        """
        if self._intent is None:
            raise NoIntent("there is no manifest in force yet")
        queue = self._intent.manifest.queues[worker.queue]
        self._last_generation += 1
        generation, project = self._last_generation, self._intent.manifest.name
        state = self._slots(worker.queue).workers.get(worker.slot)
        looks_after = 0 if state is None else state.generation
        self.send(ProbeWorker(worker, generation, queue, tuple(argv), timeout, project, looks_after))
        return generation

    def step(self) -> None:
        """Plans what is dirty or due, records and sends what follows, tells the subscribers. Raises ConnectionError."""
        now = self.now
        self._dirty.update(self._wakes.due(now))
        commands, self._outbox = self._outbox, []
        if self._may_plan and self._intent is not None:
            planned = self._plan_dirty(self._intent, now)
            # Who is ready has to be known before other settings are in force that would ask for more.
            commands.extend(self._marks)
            self._marks.clear()
            # The intent travels before what follows from it (who comes after us must not undo that), counters after.
            commands.extend(SaveIntent(data) for data in self._unsaved)
            self._unsaved.clear()
            commands.extend(planned)
        if commands:
            self._port.send(commands)
        if self._may_plan and self._intent is not None and self._save_at is not None and self._save_at <= now:
            self._port.send([SaveIntent(self._packed(self._intent))])
            self._save_at, self._saved_at = None, now
        self._publish()

    def save_counters(self) -> None:
        """With the next step, and not in a while: another control plane is to count on."""
        self._save_at = self.now

    # --- folding ------------------------------------------------------------------------------------------------

    def _fold(self, event: KeeperEvent) -> None:
        match event:
            case Attached():
                self._attach(event)
            case Recovered(data):
                self._recover(data)
            case Snapshot():
                self._take(event)
            case Gap():
                self._complete = False
            case Pinged(number):
                self._outbox.append(AnswerPing(number))
            case ShuttingDown():
                self._shutting_down = True
            case Stray():
                self._strays.append(event)
            case LogProblem() | Reported() | Tallied():
                self._note(event)
            case ReloadAsked() | HandOverAsked() | Incompatible() | Probed():
                pass
            case _:
                self._learn(event)

    def _note(self, said: LogProblem | Reported | Tallied) -> None:
        name = said.queue if isinstance(said, Tallied) else said.worker.queue
        self._frozen.pop(name, None)
        match said:
            case Reported(worker=worker, report=report):
                if self._slots(name).report(worker.slot, report):
                    self._dirty.add(name)
            case Tallied():
                self._slots(name).tally(said)
            case LogProblem():
                self._slots(name).note(said)

    def _learn(self, fact: Fact) -> None:
        self._apply(fact)
        if isinstance(fact, BecameReady) and not fact.by_keeper:
            self._outbox.append(MarkWorkerReady(fact.worker, fact.generation))

    def _attach(self, welcome: Attached) -> None:
        self._epoch, self._instance = welcome.epoch, welcome.instance
        self._last_generation = max(self._last_generation, welcome.last_generation)
        self._shutting_down = self._shutting_down or welcome.shutting_down
        self.was_ready = welcome.was_ready

    def _apply(self, event: Fact | Request) -> None:
        name = event.worker.queue
        slots = self._slots(name)
        streak = slots.streaks.get(event.worker.slot)
        if not slots.apply(event):
            return
        self._dirty.add(name)
        self._frozen.pop(name, None)
        if slots.streaks.get(event.worker.slot) is not streak and self._save_at is None:
            self._save_at = self.now + SAVE_EVERY

    def _slots(self, name: str) -> Slots:
        slots = self._queues.get(name)
        if slots is None:
            slots = self._queues[name] = Slots()
        return slots

    def _take(self, snapshot: Snapshot) -> None:
        found = by_queue(snapshot)
        for name in self._queues.keys() | found.keys():
            self._slots(name).replace_all(found.get(name, {}), snapshot.last_generation, snapshot.at)
        self._last_generation = max(self._last_generation, snapshot.last_generation)
        self._turns.found(state for _, state in snapshot.workers)
        self._frozen.clear()
        self._complete = True
        self._mark_all()

    def _recover(self, data: bytes | None) -> None:
        if self._intent is not None:
            return
        try:
            if data is None:
                raise Unreadable("a part of the saved intent is missing or damaged")
            memory = unpack(data)
        except Unreadable as error:
            self.unreadable = str(error)
            return
        self._intent = memory.intent
        self._restarts.update(memory.restarts)
        self.learnt = memory.learnt
        for name, streaks in memory.streaks.items():
            self._slots(name).streaks.update(streaks)
        self._mark_all()

    # --- intent -------------------------------------------------------------------------------------------------

    def _replace(self, intent: Intent, reason: str) -> None:
        old = self._intent
        if old == intent:
            return
        packed = self._packed(intent, check=True)
        self.unreadable = None
        self._intent = intent
        self._unsaved, self._save_at = [packed], None
        self._news.append(IntentChanged(self.now, reason))
        if old is None:
            self._mark_all()
        else:
            changed = _differing(old, intent)
            self._dirty.update(changed)
            for name in changed:
                self._desired.pop(name, None)
        self._on_work()

    def _mark_all(self) -> None:
        self._dirty.update(self._queues)
        if self._intent is not None:
            self._dirty.update(self._intent.manifest.queues)

    def _packed(self, intent: Intent, check: bool = False) -> bytes:
        streaks = {name: slots.streaks for name, slots in self._queues.items() if slots.streaks}
        return self._packer.pack(Memory(intent, streaks, self._restarts, self.learnt), check)

    # --- planning -----------------------------------------------------------------------------------------------

    def _plan_dirty(self, intent: Intent, now: float) -> list[Command]:
        commands: list[Command] = []
        again: set[str] = set()
        waiting: dict[str, list[Spawn]] = {}
        self._order.prepare(self._dirty)
        self._room.prepare(intent)
        for name in self._dirty if len(self._dirty) == 1 else self._in_order(intent):
            desired, observed = self._known(name)
            later = self._order.start_later(name), self._order.stop_later(name)
            planned = plan_queue(name, desired, observed, now, *later, self._room.left(name))
            self._turns.held.discard(name)
            for action in planned.actions:
                if isinstance(action, Spawn):
                    waiting.setdefault(name, []).append(action)
                else:
                    self._record(action, now, commands, intent.manifest.name)
            self._wakes.set(name, planned.wake_at)
            self._order.planned(name, planned.held)
            self._tell_halt(name, planned.halted, now)
            self._room.planned(name, planned)
            if any(isinstance(action, MarkReady | Retire) for action in planned.actions):
                again.add(name)
            if desired is None and not self._slots(name).workers:
                self._drop(name)
        self._start(waiting, intent.manifest, now, commands)
        self._dirty.clear()
        again |= self._room.freed()
        if again:
            # Others may have waited for them.
            self._dirty.update(again)
            self._on_work()
        return commands

    def _start(
        self, waiting: Mapping[str, Sequence[Spawn]], manifest: Manifest, now: float, commands: list[Command]
    ) -> None:
        """Records the starts that may happen now; queues that have to wait are looked at again when more may."""
        admitted, again_at = self._turns.admit(waiting, manifest.starts, now)
        for spawn in admitted:
            self._record(spawn, now, commands, manifest.name)
        if again_at is not None:
            for name in self._turns.held & waiting.keys():
                self._wakes.sooner(name, again_at)

    def _tell_halt(self, name: str, why: str, now: float) -> None:
        if not why:
            self._halted.discard(name)
        elif name not in self._halted:
            self._halted.add(name)
            self._news.append(RollOutHalted(name, why, now))

    def _known(self, name: str) -> Known:
        assert self._intent is not None
        if name not in self._desired:
            self._desired[name] = desired_queue(self._intent, name)
        slots = self._queues.get(name)
        return self._desired[name], EMPTY_QUEUE if slots is None else slots.live()

    def _in_order(self, intent: Intent) -> list[str]:
        """Wave after wave, in the manifest's order; those that are gone from it last."""
        known = [name for name in intent.manifest.queues if name in self._dirty]
        gone = sorted(self._dirty - set(known))
        return sorted(known, key=lambda name: intent.manifest.queues[name].wave) + gone

    def _drop(self, name: str) -> None:
        del self._queues[name], self._desired[name]
        self._frozen.pop(name, None)
        self._restarts.pop(name, None)
        self._halted.discard(name)
        self._room.drop(name)
        self._turns.held.discard(name)

    def _record(self, action: Action, now: float, commands: list[Command], project: str) -> None:
        """Folds the request as an event, then queues its commands."""
        old = self._slots(action.worker.queue).workers.get(action.worker.slot)
        if isinstance(action, Spawn):
            self._last_generation += 1
            if isinstance(old, Dead):
                self._count(action.worker.queue, restarted(action.reason, old.end))
        if isinstance(action, Configure) and _is_ready(old) and not isinstance(action.settings.ready.check, Spawned):
            self._marks.append(MarkWorkerReady(action.worker, action.generation))
        event, follow = translate(action, now, self._last_generation, old, project)
        self._news.append(event)
        self._apply(event)
        commands.extend(follow)

    def _count(self, name: str, reason: Restarted) -> None:
        # Another object each time: snapshots keep the ones before.
        counts = self._restarts.get(name, {})
        self._restarts[name] = {**counts, reason: counts.get(reason, 0) + 1}
        # Who reads these numbers takes one that falls for a new beginning.
        soon = max(self.now, self._saved_at + SAVE_EVERY)
        self._save_at = soon if self._save_at is None else min(self._save_at, soon)

    def _publish(self) -> None:
        news, self._news = self._news, []
        if news:
            for subscriber in tuple(self._subscribers):
                subscriber(news)


def _is_ready(state: WorkerState | None) -> bool:
    return isinstance(state, Running) and state.ready is not None


def _differing(old: Intent, new: Intent) -> list[str]:
    """The queues that are not wanted as they were. Those of a manifest loaded again are mostly the same objects."""
    names = dict.fromkeys((*old.manifest.queues, *new.manifest.queues))
    return [name for name in names if _differs(old, new, name)]


def _differs(old: Intent, new: Intent, name: str) -> bool:
    before, after = old.manifest.queues.get(name), new.manifest.queues.get(name)
    if before is not after and before != after:
        return True
    return old.adjustment(name) != new.adjustment(name) or old.targets.get(name) != new.targets.get(name)
