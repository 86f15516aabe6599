"""The keys of a queue as people write them, and which of them two queues differ in. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from procq.intent import DesiredQueue
from procq.model import (
    After,
    CommandCheck,
    HealthCheck,
    HttpCheck,
    Limit,
    Limits,
    LogLine,
    LogPolicy,
    Notify,
    Queue,
    ReadyCheck,
    Spawned,
    TcpCheck,
    User,
)
from procq.plan.scaling_values import has_another_secret, scaling_values
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
    if has_another_secret(before.queue, after.queue):
        yield Change("source", "set", "changed")
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
    yield "ready", _check(queue.ready.check)
    yield "ready.timeout", duration(queue.ready.timeout)
    if (health := queue.health) is not None:
        often = f"every {duration(health.every)}, timeout {duration(health.timeout)}, failures {health.failures}"
        yield "health", f"{_check(health.check)}, {often}"
    if queue.watchdog is not None:
        yield "watchdog", duration(queue.watchdog)
    yield from _limits(queue.limits)
    yield from _logs(queue.logs)
    yield from scaling_values(queue)


def _check(check: ReadyCheck | HealthCheck) -> str:
    match check:
        case Spawned():
            return "spawned"
        case Notify():
            return "notify"
        case LogLine(pattern):
            return f"log {pattern}"
        case After(seconds):
            return f"delay {duration(seconds)}"
        case TcpCheck(port):
            return f"port {port}"
        case HttpCheck(url):
            return f"http {url}"
        case CommandCheck(command):
            return f"command {command}"
        case _:
            assert_never(check)


def _limits(limits: Limits) -> Iterator[tuple[str, str]]:
    texts = {
        "memory": None if limits.memory is None else size(limits.memory),
        "cpu": None if limits.cpu is None else f"{limits.cpu:.0%}",
        "pids": limits.pids,
        "jobs": limits.jobs,
        "age": None if limits.age is None else duration(limits.age),
        "job_timeout": None if limits.job_timeout is None else duration(limits.job_timeout),
    }
    yield from ((f"limits.{name}", str(text)) for name, text in texts.items() if text is not None)


def _logs(logs: LogPolicy) -> Iterator[tuple[str, str]]:
    yield "logs.file", logs.file or ""
    if logs.rotate is not None:
        yield "logs.rotate", size(logs.rotate)
    if logs.rotate_every is not None:
        yield "logs.rotate_every", duration(logs.rotate_every)
    yield "logs.keep", str(logs.keep)
    if logs.total is not None:
        yield "logs.total", size(logs.total)
    yield "logs.compress", "yes" if logs.compress else "no"
    yield "logs.format", logs.format.value
    yield "logs.full", logs.full.value
    yield "logs.otlp", "yes" if logs.otlp else "no"


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
