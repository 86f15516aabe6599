"""What is wanted: the manifest in force and what people changed by hand on top of it. All pure.

A person's command never acts: it changes the intent, and the planner finds out what follows.
"Replace it" and "try it again" become *marks*: every worker of a generation up to the mark is to be replaced,
those that come after are not. A mark that was obeyed therefore needs no cleaning up and cannot be obeyed twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from procq.model import Manifest, Queue, WorkerId

MAX_WORKERS = 10_000
"""Most workers a queue can be scaled to."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Generations up to `everyone` (any slot) or `slots[slot]` are meant."""

    everyone: int = 0
    slots: Mapping[int, int] = field(default_factory=dict)

    def covers(self, slot: int, generation: int) -> bool:
        """Whether a worker of this generation in `slot` is meant."""
        return generation <= self.everyone or generation <= self.slots.get(slot, 0)

    def __bool__(self) -> bool:
        return bool(self.everyone or self.slots)


NO_MARKS = Marks()


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What people changed by hand about one queue.

    `workers` overrides the manifest's count (None: it does not). `restart` marks workers to be replaced,
    `retry` those that ended and are to be started without waiting.
    """

    workers: int | None = None
    stopped: bool = False
    stopped_slots: frozenset[int] = frozenset()
    restart: Marks = NO_MARKS
    retry: Marks = NO_MARKS


PLAIN = Adjustment()


@dataclass(frozen=True, slots=True)
class Intent:
    """The manifest in force, and the adjustments by queue; queues without any are absent."""

    manifest: Manifest
    adjustments: Mapping[str, Adjustment] = field(default_factory=dict)

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
    adjustment: Adjustment = PLAIN

    def stopped(self, slot: int) -> bool:
        """Whether a person stopped this slot."""
        return self.adjustment.stopped or slot in self.adjustment.stopped_slots


def desired_queue(intent: Intent, name: str) -> DesiredQueue | None:
    """What the queue `name` should be, None when there should be no such queue."""
    queue = intent.manifest.queues.get(name)
    if queue is None:
        return None
    adjustment = intent.adjustment(name)
    return DesiredQueue(queue, queue.workers if adjustment.workers is None else adjustment.workers, adjustment)


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
    """Overrides the worker count of `queue`. Raises KeyError for no such queue, ValueError outside 0 … MAX_WORKERS."""
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
    return _adjust(intent, queue, replace(intent.adjustment(queue), workers=wanted))


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


def start(intent: Intent, targets: Iterable[Target], generation: int) -> Intent:
    """Undoes `stop`, and starts at once what ended, failed or waits; what runs is not touched.

    `generation` is the newest one so far: workers that come later are not meant. Raises KeyError for no such queue.
    """
    for target in targets:
        name, slot = _split(intent, target)
        old = intent.adjustment(name)
        if slot is None:
            new = replace(old, stopped=False, stopped_slots=frozenset(), retry=Marks(everyone=generation))
        else:
            new = _started_slot(intent, name, old, slot)
            new = replace(new, retry=_mark(old.retry, slot, generation))
        intent = _adjust(intent, name, new)
    return intent


def restart(intent: Intent, targets: Iterable[Target], generation: int) -> Intent:
    """Replaces workers of generations up to `generation`, and undoes `stop`. Raises KeyError for no such queue."""
    targets = tuple(targets)
    intent = start(intent, targets, generation)
    for target in targets:
        name, slot = _split(intent, target)
        old = intent.adjustment(name)
        marks = Marks(everyone=generation) if slot is None else _mark(old.restart, slot, generation)
        intent = _adjust(intent, name, replace(old, restart=marks))
    return intent


def adopt(intent: Intent, manifest: Manifest) -> Intent:
    """The same wishes on another manifest; those about queues it does not have are dropped."""
    kept = {name: a for name, a in intent.adjustments.items() if name in manifest.queues}
    return Intent(manifest, kept)


def _split(intent: Intent, target: Target) -> tuple[str, int | None]:
    name, slot = (target.queue, target.slot) if isinstance(target, WorkerId) else (target, None)
    if name not in intent.manifest.queues:
        raise KeyError(name)
    return name, slot


def _started_slot(intent: Intent, name: str, old: Adjustment, slot: int) -> Adjustment:
    """Starting one worker of a stopped queue leaves the others stopped."""
    if not old.stopped:
        return replace(old, stopped_slots=old.stopped_slots - {slot})
    desired = desired_queue(intent, name)
    assert desired is not None
    return replace(old, stopped=False, stopped_slots=frozenset(range(1, desired.workers + 1)) - {slot})


def _mark(marks: Marks, slot: int, generation: int) -> Marks:
    """Adds a mark; those of other slots stay, unless the mark on everyone says as much."""
    kept = {s: g for s, g in marks.slots.items() if g > marks.everyone}
    return Marks(marks.everyone, {**kept, slot: generation})


def _adjust(intent: Intent, name: str, adjustment: Adjustment) -> Intent:
    others = {n: a for n, a in intent.adjustments.items() if n != name}
    return replace(intent, adjustments=others if adjustment == PLAIN else {**others, name: adjustment})
