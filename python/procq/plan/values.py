"""The keys of a queue as people write them, and which of them two queues differ in. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from procq.intent import DesiredQueue
from procq.model import Limit, Queue, User
from procq.plan.wording import duration, signal_name, size


@dataclass(frozen=True, slots=True)
class Change:
    """One key of a queue, and the text of its value before and after; "" where there is none."""

    key: str
    old: str
    new: str


def changes(before: DesiredQueue, after: DesiredQueue) -> Iterator[Change]:
    """What differs, key by key."""
    workers = _workers(before.queue), _workers(after.queue)
    if before.workers != after.workers:
        yield Change("workers", str(before.workers), str(after.workers))
    elif workers[0] != workers[1] and after.adjustment.workers is not None:
        yield Change("workers", workers[0], f"{workers[1]} (but set to {after.workers} by hand)")
    elif workers[0] != workers[1]:
        yield Change("workers", *workers)
    if before.queue is after.queue:
        return
    old, new = dict(_values(before.queue)), dict(_values(after.queue))
    for key in dict.fromkeys((*old, *new)):
        # The wave follows from `after`, of this queue or of one before it.
        if old.get(key) != new.get(key) and not (key == "wave" and before.queue.after != after.queue.after):
            yield Change(key, old.get(key, ""), new.get(key, ""))
    yield from _user_changes(before.queue.user, after.queue.user)
    yield from _env_changes(before.queue, after.queue)


def _workers(queue: Queue) -> str:
    return str(queue.workers) if queue.most is None else f"{queue.workers}–{queue.most}"


def _values(queue: Queue) -> Iterator[tuple[str, str]]:
    yield "command", queue.command
    if queue.argv[:2] == ("/bin/sh", "-c"):
        yield "shell", "yes"
    yield "directory", queue.directory
    if queue.user is not None:
        yield "user", queue.user.name
    if queue.umask is not None:
        yield "umask", f"{queue.umask:03o}"
    if queue.nice is not None:
        yield "nice", str(queue.nice)
    for name, limit in sorted(queue.rlimits.items()):
        yield f"rlimits.{name}", _limit(limit)
    yield "tty", "yes" if queue.tty else "no"
    yield "after", ", ".join(queue.after)
    yield "wave", str(queue.wave)
    yield "stop.signal", signal_name(queue.stop.signal)
    yield "stop.grace", duration(queue.stop.grace)
    yield "stop.to", queue.stop.to.value
    yield "restart.policy", queue.restart.when.value
    yield "restart.backoff.initial", duration(queue.restart.backoff.initial)
    yield "restart.backoff.maximum", duration(queue.restart.backoff.maximum)
    if (give_up := queue.restart.give_up) is not None:
        yield "restart.give_up", f"{give_up.failures} in {duration(give_up.within)}"
    yield "update.surge", str(queue.update.surge)
    yield "update.batch", str(queue.update.batch)
    yield "update.pause", duration(queue.update.pause)
    yield "logs.file", queue.logs.file or ""
    if queue.logs.rotate is not None:
        yield "logs.rotate", size(queue.logs.rotate)
    yield "logs.keep", str(queue.logs.keep)
    yield "logs.format", queue.logs.format.value
    yield "logs.full", queue.logs.full.value


def _limit(limit: Limit) -> str:
    soft, hard = ("unlimited" if end is None else str(end) for end in (limit.soft, limit.hard))
    return soft if soft == hard else f"{soft}..{hard}"


def _user_changes(before: User | None, after: User | None) -> Iterator[Change]:
    """What else differs of the same user: groups by number, and what the system says of it."""
    if before is None or after is None or before.name != after.name:
        return
    if (before.uid, before.home, before.shell) != (after.uid, after.home, after.shell):
        yield Change("user", *(f"{u.name} ({u.uid}, {u.home})" for u in (before, after)))
    if before.gid != after.gid:
        yield Change("group", str(before.gid), str(after.gid))
    if before.groups != after.groups:
        yield Change("groups", *(", ".join(map(str, u.groups)) for u in (before, after)))


def _env_changes(before: Queue, after: Queue) -> Iterator[Change]:
    """Names only: values may be secrets."""
    for name in sorted({*before.env, *after.env}):
        old, new = before.env.get(name), after.env.get(name)
        if old != new:
            texts = ("" if old is None else "set", "" if new is None else "set" if old is None else "changed")
            yield Change(f"env.{name}", *texts)
