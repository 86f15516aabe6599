"""What another intent would do, as data: what `procq plan` prints and what is announced after a reload.

The numbers are not computed here: they are counted in the very actions that the planner then takes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from procq.intent import DesiredQueue, Intent, desired_queue
from procq.plan.actions import NOTHING, Action, Configure, Park, QueuePlan, Reason, Spawn, Stop
from procq.plan.budget import spare
from procq.plan.crew import places
from procq.plan.planner import grace, plan_queue
from procq.plan.rollout import batch, surge
from procq.plan.values import Change, changes
from procq.state import EMPTY_QUEUE, Observed, QueueState, Running, Starting


class Mark(StrEnum):
    """What becomes of a queue."""

    ADDED = "+"
    REMOVED = "-"
    CHANGED = "~"
    REPLACED = "±"
    SAME = "="


@dataclass(frozen=True, slots=True)
class Counts:
    """Workers: started in free slots, stopped for good, stopped to be replaced, told new settings, not touched at all.

    Those told new settings go on running and are counted as untouched too.
    """

    new: int = 0
    stopped: int = 0
    replaced: int = 0
    configured: int = 0
    untouched: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.new + other.new,
            self.stopped + other.stopped,
            self.replaced + other.replaced,
            self.configured + other.configured,
            self.untouched + other.untouched,
        )


@dataclass(frozen=True, slots=True)
class QueueDiff:
    """What becomes of one queue.

    Where workers are replaced, `batch` at a time, with `surge` more meanwhile; else 0. `seconds` is how long all
    takes when every worker leaves at once, and when each uses up its grace period. `wave` is when a removed one leaves.
    """

    name: str
    mark: Mark
    changes: tuple[Change, ...]
    counts: Counts
    batch: int = 0
    surge: int = 0
    seconds: tuple[float, float] = (0.0, 0.0)
    wave: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """What becomes of every queue, in the order of the manifest, those it drops last."""

    queues: tuple[QueueDiff, ...]

    @property
    def counts(self) -> Counts:
        """Of all queues together."""
        return sum((q.counts for q in self.queues), Counts())

    @property
    def seconds(self) -> tuple[float, float]:
        """How long all takes, at least and at most: queues change side by side, removed ones leave wave after wave."""
        waves: dict[int, float] = {}
        for queue in self.queues:
            if queue.mark is Mark.REMOVED:
                waves[queue.wave] = max(waves.get(queue.wave, 0.0), queue.seconds[1])
        most = max((q.seconds[1] for q in self.queues), default=0.0)
        return max((q.seconds[0] for q in self.queues), default=0.0), max(most, sum(waves.values()))

    @property
    def empty(self) -> bool:
        """Whether no queue changes."""
        return all(q.mark is Mark.SAME for q in self.queues)


def compare(old: Intent | None, new: Intent, observed: Observed, only: Collection[str] | None = None) -> Difference:
    """What replacing `old` by `new` does to what runs; without `old` every queue of `new` is an added one.

    `only` leaves all other queues out.
    """
    before = {} if old is None else old.manifest.queues
    names = dict.fromkeys((*new.manifest.queues, *before, *observed.queues))
    if only is not None:
        chosen = set(only)
        names = {name: None for name in names if name in chosen}
    room = spare(new)
    return Difference(tuple(_compare_queue(name, old, new, observed, room) for name in names))


def _compare_queue(name: str, old: Intent | None, new: Intent, observed: Observed, room: int | None) -> QueueDiff:
    before = None if old is None else desired_queue(old, name)
    after = desired_queue(new, name)
    state = observed.queues.get(name, EMPTY_QUEUE)
    # As if no other queue held it back: what is told is what becomes of it, not its first step.
    planned = NOTHING if observed.shutting_down else plan_queue(name, after, state, observed.now, room=room)
    counts = _count(after, state, planned)
    changed = () if before is None or after is None else tuple(changes(before, after))
    mark = _mark(before, after, changed, counts)
    wave = before.queue.wave if after is None and before is not None else 0
    seconds = _seconds(after, state, planned, room)
    if after is None or not planned.old:
        return QueueDiff(name, mark, changed, counts, seconds=seconds, wave=wave)
    return QueueDiff(name, mark, changed, counts, min(batch(after), len(planned.old)), surge(after, room), seconds)


def _mark(before: DesiredQueue | None, after: DesiredQueue | None, changes: tuple[Change, ...], counts: Counts) -> Mark:
    if after is None:
        return Mark.REMOVED
    if before is None:
        return Mark.ADDED
    if before.fingerprint != after.fingerprint or (counts.replaced and before != after):
        return Mark.REPLACED
    return Mark.CHANGED if changes or before != after else Mark.SAME


def _leaves(action: Action) -> bool:
    return isinstance(action, Stop) or (isinstance(action, Park) and action.parked and action.reason is Reason.SURPLUS)


def _count(desired: DesiredQueue | None, state: QueueState, planned: QueuePlan) -> Counts:
    """All old workers count as replaced, whenever their turn comes; extra ones that stand in for them not at all."""
    crew = () if desired is None else places(desired, state)
    old = set(planned.old)
    stops = [action for action in planned.actions if _leaves(action) and action.worker.slot not in old]
    at_once = sum(action.reason is Reason.ASKED for action in stops)
    alive = {slot for slot, worker in state.workers.items() if isinstance(worker, Starting | Running)}
    touched = old | {action.worker.slot for action in stops}
    extra = {slot for slot in alive - touched if desired is not None and slot not in crew}
    return Counts(
        new=sum(isinstance(action, Spawn) and action.worker.slot in crew for action in planned.actions),
        stopped=len(stops) - at_once,
        replaced=len(old) + at_once,
        configured=sum(isinstance(action, Configure) for action in planned.actions),
        untouched=len(alive) - len(touched) - (len(extra) if planned.old else 0),
    )


def _seconds(
    desired: DesiredQueue | None, state: QueueState, planned: QueuePlan, room: int | None
) -> tuple[float, float]:
    old = {slot: grace(state.workers[slot]) for slot in planned.old}
    stops = (grace(state.workers[a.worker.slot]) for a in planned.actions if _leaves(a) and a.worker.slot not in old)
    at_once = max(stops, default=0.0)
    if desired is None or not old:
        return 0.0, at_once
    batches = -(-len(old) // batch(desired))
    surges = bool(surge(desired, room))
    least = (batches + surges) * desired.queue.update.pause
    extra = desired.queue.stop.grace if surges else 0.0
    return least, max(least + batches * max(old.values()) + extra, at_once)
