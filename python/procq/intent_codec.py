"""The intent as plain data (dicts, lists, strings, numbers, booleans, None) and back, versioned.

It outlives the control plane that wrote it, and may be read by a newer or an older one. Keys unknown to the reader are
ignored; another version, or anything else that is not what `encode` writes, raises `Unreadable`, never half an intent.
"""

from __future__ import annotations

from typing import Any, Final, assert_never

from procq.intent import NO_MARKS, Adjustment, Intent, Marks
from procq.model import (
    After,
    Backoff,
    CommandCheck,
    GiveUp,
    Health,
    HealthCheck,
    HttpCheck,
    Limit,
    Limits,
    LogFormat,
    LogLine,
    LogPolicy,
    Manifest,
    Notify,
    Queue,
    Readiness,
    ReadyCheck,
    RestartPolicy,
    RestartWhen,
    Share,
    Spawned,
    StartRate,
    StopPolicy,
    StopTo,
    TcpCheck,
    UpdatePolicy,
    User,
    WhenFull,
)
from procq.plain import Plain, flag, listed, mapping, maybe, number, text, whole
from procq.rules_codec import encode_guard, encode_rules, read_guard, read_rules

VERSION: Final = 1
_LIMITS: Final = ("memory", "cpu", "pids", "jobs", "age", "job_timeout")


class Unreadable(ValueError):
    """The data is not an intent that this version of procq wrote."""


def encode(intent: Intent) -> Plain:
    """The intent as plain data."""
    return {**encode_head(intent), "queues": [encode_queue(queue) for queue in intent.manifest.queues.values()]}


def encode_head(intent: Intent) -> Plain:
    """Everything but the queues, which are the bulk of it."""
    manifest = intent.manifest
    return {
        "version": VERSION,
        "name": manifest.name,
        "directory": manifest.directory,
        "files": list(manifest.files),
        "budget": manifest.budget,
        "starts": [manifest.starts.number, manifest.starts.within],
        "cpus": manifest.cpus,
        "memory": manifest.memory,
        "guard": encode_guard(manifest.guard),
        "targets": dict(intent.targets),
        "adjustments": {name: _adjustment(a) for name, a in intent.adjustments.items()},
    }


def decode(data: object) -> Intent:
    """The inverse of `encode`. Raises Unreadable."""
    try:
        plain = mapping(data)
        version = plain["version"]
        if version != VERSION:
            raise Unreadable(f"the saved intent has version {version!r}, this procq reads version {VERSION}")
        queues = [_read_queue(mapping(item)) for item in listed(plain["queues"])]
        manifest = Manifest(
            text(plain["name"]),
            {q.name: q for q in queues},
            text(plain["directory"]),
            tuple(text(file) for file in listed(plain["files"])),
            maybe(whole, plain["budget"]),
            _read_starts(plain.get("starts")),
            maybe(number, plain.get("cpus")),
            maybe(whole, plain.get("memory")),
            read_guard(plain.get("guard")),
        )
        adjustments = {
            text(name): _read_adjustment(mapping(item)) for name, item in mapping(plain["adjustments"]).items()
        }
        targets = {text(name): whole(workers) for name, workers in mapping(plain.get("targets", {})).items()}
        return Intent(manifest, adjustments, targets)
    except Unreadable:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"the saved intent is damaged: {type(error).__name__}: {error}") from error


def encode_queue(queue: Queue) -> Plain:
    """One queue, as it stands under `queues`."""
    give_up = queue.restart.give_up
    return {
        "name": queue.name,
        "command": queue.command,
        "argv": list(queue.argv),
        "workers": queue.workers,
        "directory": queue.directory,
        "env": dict(queue.env),
        "stop": {"signal": int(queue.stop.signal), "grace": queue.stop.grace, "to": queue.stop.to.value},
        "restart": {
            "when": queue.restart.when.value,
            "initial": queue.restart.backoff.initial,
            "maximum": queue.restart.backoff.maximum,
            "give_up": None if give_up is None else [give_up.failures, give_up.within],
        },
        "logs": {
            "file": queue.logs.file,
            "rotate": queue.logs.rotate,
            "keep": queue.logs.keep,
            "format": queue.logs.format.value,
            "full": queue.logs.full.value,
            "rotate_every": queue.logs.rotate_every,
            "compress": queue.logs.compress,
            "total": queue.logs.total,
            "otlp": queue.logs.otlp,
        },
        "most": queue.most,
        "user": None if queue.user is None else _user(queue.user),
        "umask": queue.umask,
        "nice": queue.nice,
        "rlimits": {name: [limit.soft, limit.hard] for name, limit in queue.rlimits.items()},
        "tty": queue.tty,
        "after": list(queue.after),
        "wave": queue.wave,
        "update": {
            "surge": _share(queue.update.surge),
            "batch": _share(queue.update.batch),
            "pause": queue.update.pause,
        },
        "ready": [_check(queue.ready.check), queue.ready.timeout],
        "health": None if queue.health is None else _health(queue.health),
        "watchdog": queue.watchdog,
        "limits": {name: getattr(queue.limits, name) for name in _LIMITS},
        **encode_rules(queue),
    }


def _read_queue(item: Plain) -> Queue:
    user, most = item["user"], item["most"]
    # What follows was not there from the beginning: an earlier procq has not written it.
    ready, health, limits = item.get("ready"), item.get("health"), mapping(item.get("limits", {}))
    return Queue(
        name=text(item["name"]),
        command=text(item["command"]),
        argv=tuple(text(word) for word in listed(item["argv"])),
        workers=whole(item["workers"]),
        directory=text(item["directory"]),
        env={text(k): text(v) for k, v in mapping(item["env"]).items()},
        stop=_read_stop(mapping(item["stop"])),
        restart=_read_restart(mapping(item["restart"])),
        logs=_read_logs(mapping(item["logs"])),
        most=maybe(whole, most),
        user=None if user is None else _read_user(mapping(user)),
        umask=maybe(whole, item["umask"]),
        nice=maybe(whole, item["nice"]),
        rlimits={text(name): _read_limit(listed(pair)) for name, pair in mapping(item["rlimits"]).items()},
        tty=flag(item["tty"]),
        after=tuple(text(name) for name in listed(item["after"])),
        wave=whole(item["wave"]),
        update=_read_update(mapping(item["update"])),
        ready=Readiness() if ready is None else _read_ready(listed(ready)),
        health=None if health is None else _read_health(mapping(health)),
        watchdog=maybe(number, item.get("watchdog")),
        limits=_read_limits(limits),
        **read_rules(item),
    )


def _read_stop(item: Plain) -> StopPolicy:
    return StopPolicy(whole(item["signal"]), number(item["grace"]), StopTo(item["to"]))


def _read_restart(item: Plain) -> RestartPolicy:
    give_up = item["give_up"]
    if give_up is not None:
        failures, within = listed(give_up)
        give_up = GiveUp(whole(failures), number(within))
    backoff = Backoff(number(item["initial"]), number(item["maximum"]))
    return RestartPolicy(RestartWhen(item["when"]), backoff, give_up)


def _read_logs(item: Plain) -> LogPolicy:
    return LogPolicy(
        maybe(text, item["file"]),
        maybe(whole, item["rotate"]),
        whole(item["keep"]),
        LogFormat(item["format"]),
        WhenFull(item["full"]),
        maybe(number, item.get("rotate_every")),
        flag(item.get("compress", False)),
        maybe(whole, item.get("total")),
        flag(item.get("otlp", False)),
    )


def _check(check: ReadyCheck | HealthCheck) -> list[Any]:
    match check:
        case Spawned():
            return ["spawned"]
        case Notify():
            return ["notify"]
        case LogLine(pattern):
            return ["log", pattern]
        case After(seconds):
            return ["after", seconds]
        case TcpCheck(port):
            return ["tcp", port]
        case HttpCheck(url):
            return ["http", url]
        case CommandCheck(command, argv):
            return ["command", command, list(argv)]
        case _:
            assert_never(check)


def _read_check(item: list[Any]) -> ReadyCheck | HealthCheck:
    match item:
        case ["spawned"]:
            return Spawned()
        case ["notify"]:
            return Notify()
        case ["log", pattern]:
            return LogLine(text(pattern))
        case ["after", seconds]:
            return After(number(seconds))
        case ["tcp", port]:
            return TcpCheck(whole(port))
        case ["http", url]:
            return HttpCheck(text(url))
        case ["command", command, argv]:
            return CommandCheck(text(command), tuple(text(word) for word in listed(argv)))
        case _:
            raise ValueError(f"no check that is known: {item!r:.60}")


def _read_ready(pair: list[Any]) -> Readiness:
    check, timeout = _read_check(listed(pair[0])), number(pair[1])
    if isinstance(check, CommandCheck):
        raise ValueError("a command cannot tell readiness")
    return Readiness(check, timeout)


def _health(health: Health) -> Plain:
    return {
        "check": _check(health.check),
        "every": health.every,
        "timeout": health.timeout,
        "failures": health.failures,
    }


def _read_health(item: Plain) -> Health:
    check = _read_check(listed(item["check"]))
    if not isinstance(check, TcpCheck | HttpCheck | CommandCheck):
        raise ValueError("no check that can tell health")
    return Health(check, number(item["every"]), number(item["timeout"]), whole(item["failures"]))


def _read_limits(item: Plain) -> Limits:
    return Limits(
        memory=maybe(whole, item.get("memory")),
        cpu=maybe(number, item.get("cpu")),
        pids=maybe(whole, item.get("pids")),
        jobs=maybe(whole, item.get("jobs")),
        age=maybe(number, item.get("age")),
        job_timeout=maybe(number, item.get("job_timeout")),
    )


def _read_starts(pair: object) -> StartRate:
    if pair is None:
        return StartRate()
    starts, within = listed(pair)
    return StartRate(whole(starts), number(within))


def _user(user: User) -> Plain:
    return {
        "name": user.name,
        "uid": user.uid,
        "gid": user.gid,
        "groups": list(user.groups),
        "home": user.home,
        "shell": user.shell,
    }


def _read_user(item: Plain) -> User:
    return User(
        text(item["name"]),
        whole(item["uid"]),
        whole(item["gid"]),
        tuple(whole(group) for group in listed(item["groups"])),
        text(item["home"]),
        text(item["shell"]),
    )


def _read_limit(pair: list[Any]) -> Limit:
    soft, hard = pair
    return Limit(maybe(whole, soft), maybe(whole, hard))


def _share(share: Share) -> list[Any]:
    return [share.number, share.percent]


def _read_share(pair: list[Any]) -> Share:
    amount, percent = pair
    return Share(whole(amount), flag(percent))


def _read_update(item: Plain) -> UpdatePolicy:
    surge, batch = _read_share(listed(item["surge"])), _read_share(listed(item["batch"]))
    return UpdatePolicy(surge, batch, number(item["pause"]))


def _adjustment(a: Adjustment) -> Plain:
    return {
        "workers": a.workers,
        "stopped": a.stopped,
        "stopped_slots": sorted(a.stopped_slots),
        "paused": a.paused,
        "paused_slots": sorted(a.paused_slots),
        "restart": _marks(a.restart),
        "retry": _marks(a.retry),
        "roll": _marks(a.roll),
    }


def _read_adjustment(item: Plain) -> Adjustment:
    workers = item["workers"]
    return Adjustment(
        workers=None if workers is None else whole(workers),
        stopped=flag(item["stopped"]),
        stopped_slots=frozenset(whole(slot) for slot in listed(item["stopped_slots"])),
        paused=flag(item.get("paused", False)),
        paused_slots=frozenset(whole(slot) for slot in listed(item.get("paused_slots", []))),
        restart=_read_marks(mapping(item["restart"])),
        retry=_read_marks(mapping(item["retry"])),
        roll=_read_marks(mapping(item["roll"])) if "roll" in item else NO_MARKS,
    )


def _marks(marks: Marks) -> Plain:
    return {"everyone": marks.everyone, "slots": [[slot, value] for slot, value in marks.slots.items()]}


def _read_marks(item: Plain) -> Marks:
    slots = {whole(slot): number(value) for slot, value in map(listed, listed(item["slots"]))}
    return Marks(number(item["everyone"]), slots)
