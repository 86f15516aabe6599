"""What another intent would do, as data: what `procq plan` prints and what is announced after a reload.

The numbers are not computed here: they are counted in the very actions that the planner then takes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from procq.intent import DesiredQueue, Intent, desired_queue
from procq.model import Queue
from procq.plan.actions import Configure, Reason, Spawn, Stop
from procq.plan.planner import plan_queue
from procq.plan.wording import duration, signal_name
from procq.state import EMPTY_QUEUE, Observed, QueueState, Running, Starting


class Mark(StrEnum):
    """What becomes of a queue."""

    ADDED = "+"
    REMOVED = "-"
    CHANGED = "~"
    REPLACED = "±"
    SAME = "="


@dataclass(frozen=True, slots=True)
class Change:
    """One key of a queue, and the text of its value before and after; "" where there is none."""

    key: str
    old: str
    new: str


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
    """What becomes of one queue."""

    name: str
    mark: Mark
    changes: tuple[Change, ...]
    counts: Counts


@dataclass(frozen=True, slots=True)
class Difference:
    """What becomes of every queue, in the order of the manifest, those it drops last."""

    queues: tuple[QueueDiff, ...]

    @property
    def counts(self) -> Counts:
        """Of all queues together."""
        return sum((q.counts for q in self.queues), Counts())

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
    return Difference(tuple(_compare_queue(name, old, new, observed) for name in names))


def _compare_queue(name: str, old: Intent | None, new: Intent, observed: Observed) -> QueueDiff:
    before = None if old is None else desired_queue(old, name)
    after = desired_queue(new, name)
    state = observed.queues.get(name, EMPTY_QUEUE)
    counts = Counts(untouched=_alive(state)) if observed.shutting_down else _count(name, after, state, observed.now)
    changes = () if before is None or after is None else tuple(_changes(before, after))
    return QueueDiff(name, _mark(before, after, changes, counts), changes, counts)


def _mark(before: DesiredQueue | None, after: DesiredQueue | None, changes: tuple[Change, ...], counts: Counts) -> Mark:
    if after is None:
        return Mark.REMOVED
    if before is None:
        return Mark.ADDED
    if before.fingerprint != after.fingerprint or (counts.replaced and before != after):
        return Mark.REPLACED
    return Mark.CHANGED if changes or before != after else Mark.SAME


def _count(name: str, desired: DesiredQueue | None, state: QueueState, now: float) -> Counts:
    actions = plan_queue(name, desired, state, now).actions
    stops = [action.reason for action in actions if isinstance(action, Stop)]
    replaced = sum(reason in (Reason.CHANGED, Reason.ASKED) for reason in stops)
    return Counts(
        new=sum(isinstance(action, Spawn) for action in actions),
        stopped=len(stops) - replaced,
        replaced=replaced,
        configured=sum(isinstance(action, Configure) for action in actions),
        untouched=_alive(state) - len(stops),
    )


def _alive(state: QueueState) -> int:
    return sum(isinstance(worker, Starting | Running) for worker in state.workers.values())


def _changes(before: DesiredQueue, after: DesiredQueue) -> Iterator[Change]:
    if before.workers != after.workers:
        yield Change("workers", str(before.workers), str(after.workers))
    elif before.queue.workers != after.queue.workers:
        by_hand = f"{after.queue.workers} (but set to {after.workers} by hand)"
        yield Change("workers", str(before.queue.workers), by_hand)
    old, new = dict(_values(before.queue)), dict(_values(after.queue))
    for key in dict.fromkeys((*old, *new)):
        if old.get(key) != new.get(key):
            yield Change(key, old.get(key, ""), new.get(key, ""))
    yield from _env_changes(before.queue, after.queue)


def _values(queue: Queue) -> Iterator[tuple[str, str]]:
    yield "command", queue.command
    if queue.argv[:2] == ("/bin/sh", "-c"):
        yield "shell", "yes"
    yield "directory", queue.directory
    yield "stop.signal", signal_name(queue.stop.signal)
    yield "stop.grace", duration(queue.stop.grace)
    yield "restart.policy", queue.restart.when.value
    yield "restart.backoff.initial", duration(queue.restart.backoff.initial)
    yield "restart.backoff.maximum", duration(queue.restart.backoff.maximum)
    yield "logs.file", queue.logs.file or ""


def _env_changes(before: Queue, after: Queue) -> Iterator[Change]:
    """Names only: values may be secrets."""
    for name in sorted({*before.env, *after.env}):
        old, new = before.env.get(name), after.env.get(name)
        if old != new:
            texts = ("" if old is None else "set", "" if new is None else "set" if old is None else "changed")
            yield Change(f"env.{name}", *texts)
