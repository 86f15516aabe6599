"""What is wanted: the manifest in force and what people changed by hand on top of it. All pure.

A person's command never acts: it changes the intent, and the planner finds out what follows.
"Replace it" and "try it again" become *marks*: every worker of a generation up to the mark is to be replaced, every
slot whose worker ended before the mark is to be filled at once; what comes after is not meant. A mark that was obeyed
therefore needs no cleaning up and cannot be obeyed twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from procq.model import MAX_WORKERS, Manifest, Queue, WorkerId
from procq.state import Settings


class NoIntent(RuntimeError):
    """There is no manifest in force yet: none was recovered, and none was adopted."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What lies up to `everyone` (in any slot) or `slots[slot]` is meant; in generations or in seconds."""

    everyone: float = -1
    slots: Mapping[int, float] = field(default_factory=dict)

    def covers(self, slot: int, value: float) -> bool:
        """Whether the mark reaches `value` in this slot."""
        return value <= self.everyone or value <= self.slots.get(slot, -1)

    def __bool__(self) -> bool:
        return self.everyone >= 0 or bool(self.slots)


NO_MARKS = Marks()


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What people changed by hand about one queue.

    `workers` overrides the manifest's count (None: it does not). Who is `paused` takes no more jobs. `restart` marks
    the generations to be replaced, all at once, `roll` those to be replaced as after a change of the command, `retry`
    the time up to which an end is not to be waited for.
    """

    workers: int | None = None
    stopped: bool = False
    stopped_slots: frozenset[int] = frozenset()
    restart: Marks = NO_MARKS
    retry: Marks = NO_MARKS
    roll: Marks = NO_MARKS
    paused: bool = False
    paused_slots: frozenset[int] = frozenset()


PLAIN = Adjustment()


@dataclass(frozen=True, slots=True)
class Intent:
    """The manifest in force, and the adjustments by queue; queues without any are absent.

    `targets` are how many workers scaling has found right, for queues that scale and that it has looked at.
    """

    manifest: Manifest
    adjustments: Mapping[str, Adjustment] = field(default_factory=dict)
    targets: Mapping[str, int] = field(default_factory=dict)

    @property
    def overrides(self) -> Mapping[str, int]:
        """The worker counts set by hand, by queue."""
        return {name: a.workers for name, a in self.adjustments.items() if a.workers is not None}

    def adjustment(self, queue: str) -> Adjustment:
        """What people changed about `queue`."""
        return self.adjustments.get(queue, PLAIN)


@dataclass(frozen=True, slots=True)
class DesiredQueue:
    """Everything the planner needs to know about what one queue should be."""

    queue: Queue
    workers: int
    adjustment: Adjustment
    fingerprint: str
    settings: Settings

    def stopped(self, slot: int) -> bool:
        """Whether a person stopped this slot."""
        return self.adjustment.stopped or slot in self.adjustment.stopped_slots

    def paused(self, slot: int) -> bool:
        """Whether a person wants the worker of this slot to take no more jobs."""
        return self.adjustment.paused or slot in self.adjustment.paused_slots


def desired_queue(intent: Intent, name: str) -> DesiredQueue | None:
    """What the queue `name` should be, None when there should be no such queue."""
    queue = intent.manifest.queues.get(name)
    if queue is None:
        return None
    workers = wanted_workers(intent, queue)
    return DesiredQueue(queue, workers, intent.adjustment(name), queue.fingerprint, Settings.of(queue))


def wanted_workers(intent: Intent, queue: Queue) -> int:
    """How many workers a queue is to have: what a person says, else what scaling says, else what the manifest says."""
    by_hand = intent.adjustment(queue.name).workers
    if by_hand is not None:
        return by_hand
    target = intent.targets.get(queue.name) if queue.scales else None
    if target is None or queue.most is None:
        return queue.workers
    # Only a schedule may go below the range.
    least = min([queue.workers, *(period.most for period in queue.schedule if period.most is not None)])
    return min(max(target, least), queue.most)


def rescale(intent: Intent, targets: Mapping[str, int]) -> Intent:
    """Other targets for some queues; what is said of queues that do not scale is dropped."""
    queues = intent.manifest.queues
    known = {name: n for name, n in {**intent.targets, **targets}.items() if name in queues and queues[name].scales}
    return intent if known == intent.targets else replace(intent, targets=known)


@dataclass(frozen=True, slots=True)
class ScaleTo:
    """Exactly this many workers."""

    workers: int


@dataclass(frozen=True, slots=True)
class ScaleBy:
    """This many more, or fewer, than are wanted now; never below 0."""

    delta: int


@dataclass(frozen=True, slots=True)
class Auto:
    """As many as the manifest says."""


Scale = ScaleTo | ScaleBy | Auto
Target = str | WorkerId
"""A whole queue by name, or one worker."""


def scale(intent: Intent, queue: str, how: Scale) -> Intent:
    """Overrides the worker count of `queue`.

    Raises KeyError for no such queue, ValueError outside 0 … MAX_WORKERS and for more than the manifest's budget bears;
    fewer than now are never refused.
    """
    desired = desired_queue(intent, queue)
    if desired is None:
        raise KeyError(queue)
    match how:
        case ScaleTo(workers):
            wanted: int | None = workers
        case ScaleBy(delta):
            wanted = max(0, desired.workers + delta)
        case Auto():
            wanted = None
    if wanted is not None and not 0 <= wanted <= MAX_WORKERS:
        raise ValueError(f"a queue has between 0 and {MAX_WORKERS} workers, not {wanted}")
    _check_budget(intent, desired, desired.queue.workers if wanted is None else wanted)
    return _fitted(_adjust(intent, queue, replace(intent.adjustment(queue), workers=wanted)))


def wanted_in_all(intent: Intent) -> int:
    """How many workers all queues are to have, together."""
    return sum(wanted_workers(intent, queue) for queue in intent.manifest.queues.values())


def _least_in_all(intent: Intent) -> int:
    """The same, when those that scale have no more than they must."""
    return wanted_in_all(replace(intent, targets={}))


def _fitted(intent: Intent) -> Intent:
    """Queues that scale give way to what people want: those first that have most above what they must have."""
    excess = 0 if intent.manifest.budget is None else wanted_in_all(intent) - intent.manifest.budget
    if excess <= 0:
        return intent
    more = {}
    for name in intent.targets:
        queue = intent.manifest.queues.get(name)
        if queue is not None and intent.adjustment(name).workers is None:
            more[name] = wanted_workers(intent, queue) - queue.workers
    targets = dict(intent.targets)
    for name in sorted(more, key=lambda name: (-more[name], name)):
        given = max(0, min(more[name], excess))
        targets[name] = intent.manifest.queues[name].workers + more[name] - given
        excess -= given
    return rescale(intent, targets)


def _check_budget(intent: Intent, desired: DesiredQueue, wanted: int) -> None:
    budget, has = intent.manifest.budget, wanted_workers(replace(intent, targets={}), desired.queue)
    if budget is None or wanted <= has:
        return
    total = _least_in_all(intent) - has + wanted
    if total > budget:
        left = max(has, wanted - (total - budget))
        raise ValueError(
            f"that makes {total} workers, and the budget of this machine is {budget}: {desired.queue.name} can have "
            f"{left}; raise host.budget.workers in the manifest, or scale other queues down"
        )


def beyond_budget(intent: Intent) -> str | None:
    """Why what was scaled by hand does not fit into the budget of the manifest; None where it does."""
    budget, queues = intent.manifest.budget, intent.manifest.queues
    if budget is None:
        return None
    more = {n: w for n, w in intent.overrides.items() if n in queues and w > queues[n].workers}
    total = _least_in_all(intent)
    if total <= budget or not more:
        return None
    shown = ", ".join(f"{name}={workers}" for name, workers in sorted(more.items(), key=lambda each: -each[1])[:3])
    return f"with what was scaled by hand ({shown}) that makes {total} workers, and host.budget.workers is {budget}"


def stop(intent: Intent, targets: Iterable[Target]) -> Intent:
    """Stops whole queues or single workers until somebody starts them. Raises KeyError for no such queue."""
    for target in targets:
        name, slot = _split(intent, target)
        old = intent.adjustment(name)
        if slot is None:
            new = replace(old, stopped=True, stopped_slots=frozenset())
        elif old.stopped:
            continue
        else:
            new = replace(old, stopped_slots=old.stopped_slots | {slot})
        intent = _adjust(intent, name, new)
    return intent


def start(intent: Intent, targets: Iterable[Target], now: float) -> Intent:
    """Undoes `stop`, and starts at once what had ended, failed or waited by `now`; what runs is not touched.

    Raises KeyError for no such queue.
    """
    for target in targets:
        name, slot = _split(intent, target)
        marks = _mark(intent.adjustment(name).retry, slot, now)
        intent = _adjust(intent, name, replace(_started(intent, name, slot), retry=marks))
    return intent


def pause(intent: Intent, targets: Iterable[Target]) -> Intent:
    """Lets workers take no more jobs, as far as they can be told, until `resume`. Raises KeyError for no such queue."""
    for target in targets:
        name, slot = _split(intent, target)
        old = intent.adjustment(name)
        if slot is None:
            new = replace(old, paused=True, paused_slots=frozenset())
        elif old.paused:
            continue
        else:
            new = replace(old, paused_slots=old.paused_slots | {slot})
        intent = _adjust(intent, name, new)
    return intent


def resume(intent: Intent, targets: Iterable[Target]) -> Intent:
    """Undoes `pause`. Raises KeyError for no such queue, ValueError for one worker of a queue that is paused."""
    for target in targets:
        name, slot = _split(intent, target)
        old = intent.adjustment(name)
        if slot is not None and old.paused:
            raise ValueError(f"{name} is paused as a whole: resume {name}")
        left = frozenset[int]() if slot is None else old.paused_slots - {slot}
        intent = _adjust(intent, name, replace(old, paused=False, paused_slots=left))
    return intent


def restart(intent: Intent, targets: Iterable[Target], generation: int, rolling: bool = False) -> Intent:
    """Replaces workers of generations up to `generation`, whether they run or ended, and undoes `stop`.

    All of them at once, or `rolling`: in the batches of the queue's `update`. Raises KeyError for no such queue.
    """
    for target in targets:
        name, slot = _split(intent, target)
        old, new = intent.adjustment(name), _started(intent, name, slot)
        if rolling:
            new = replace(new, roll=_mark(old.roll, slot, generation))
        else:
            new = replace(new, restart=_mark(old.restart, slot, generation))
        intent = _adjust(intent, name, new)
    return intent


def adopt(intent: Intent, manifest: Manifest) -> Intent:
    """The same wishes on another manifest; those about queues it does not have are dropped."""
    kept = {name: a for name, a in intent.adjustments.items() if name in manifest.queues}
    return _fitted(rescale(Intent(manifest, kept, intent.targets), {}))


def _split(intent: Intent, target: Target) -> tuple[str, int | None]:
    name, slot = (target.queue, target.slot) if isinstance(target, WorkerId) else (target, None)
    if name not in intent.manifest.queues:
        raise KeyError(name)
    return name, slot


def _started(intent: Intent, name: str, slot: int | None) -> Adjustment:
    """Not stopped any more. Starting one worker of a stopped queue leaves the others stopped."""
    old = intent.adjustment(name)
    if slot is None:
        return replace(old, stopped=False, stopped_slots=frozenset())
    if not old.stopped:
        return replace(old, stopped_slots=old.stopped_slots - {slot})
    desired = desired_queue(intent, name)
    assert desired is not None
    return replace(old, stopped=False, stopped_slots=frozenset(range(1, desired.workers + 1)) - {slot})


def _mark(marks: Marks, slot: int | None, value: float) -> Marks:
    """Adds a mark on a slot or on everyone; those of other slots stay, unless that on everyone says as much."""
    if slot is None:
        return Marks(everyone=value)
    kept = {s: v for s, v in marks.slots.items() if v > marks.everyone}
    return Marks(marks.everyone, {**kept, slot: value})


def _adjust(intent: Intent, name: str, adjustment: Adjustment) -> Intent:
    others = {n: a for n, a in intent.adjustments.items() if n != name}
    return replace(intent, adjustments=others if adjustment == PLAIN else {**others, name: adjustment})
