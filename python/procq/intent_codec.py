"""The intent as plain data (dicts, lists, strings, numbers, booleans, None) and back, versioned.

It outlives the control plane that wrote it, and may be read by a newer or an older one. Keys unknown to the reader are
ignored; another version, or anything else that is not what `encode` writes, raises `Unreadable`, never half an intent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, assert_never

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

VERSION: Final = 1
_LIMITS: Final = ("memory", "cpu", "pids", "jobs", "age", "job_timeout")

Plain = dict[str, Any]
T = TypeVar("T")


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
        "adjustments": {name: _adjustment(a) for name, a in intent.adjustments.items()},
    }


def decode(data: object) -> Intent:
    """The inverse of `encode`. Raises Unreadable."""
    try:
        plain = _mapping(data)
        version = plain["version"]
        if version != VERSION:
            raise Unreadable(f"the saved intent has version {version!r}, this procq reads version {VERSION}")
        queues = [_read_queue(_mapping(item)) for item in _list(plain["queues"])]
        manifest = Manifest(
            _text(plain["name"]),
            {q.name: q for q in queues},
            _text(plain["directory"]),
            tuple(_text(file) for file in _list(plain["files"])),
            _maybe(_whole, plain["budget"]),
            _read_starts(plain.get("starts")),
        )
        adjustments = {
            _text(name): _read_adjustment(_mapping(item)) for name, item in _mapping(plain["adjustments"]).items()
        }
        return Intent(manifest, adjustments)
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
    }


def _read_queue(item: Plain) -> Queue:
    user, most = item["user"], item["most"]
    # What follows was not there from the beginning: an earlier procq has not written it.
    ready, health, limits = item.get("ready"), item.get("health"), _mapping(item.get("limits", {}))
    return Queue(
        name=_text(item["name"]),
        command=_text(item["command"]),
        argv=tuple(_text(word) for word in _list(item["argv"])),
        workers=_whole(item["workers"]),
        directory=_text(item["directory"]),
        env={_text(k): _text(v) for k, v in _mapping(item["env"]).items()},
        stop=_read_stop(_mapping(item["stop"])),
        restart=_read_restart(_mapping(item["restart"])),
        logs=_read_logs(_mapping(item["logs"])),
        most=_maybe(_whole, most),
        user=None if user is None else _read_user(_mapping(user)),
        umask=_maybe(_whole, item["umask"]),
        nice=_maybe(_whole, item["nice"]),
        rlimits={_text(name): _read_limit(_list(pair)) for name, pair in _mapping(item["rlimits"]).items()},
        tty=_flag(item["tty"]),
        after=tuple(_text(name) for name in _list(item["after"])),
        wave=_whole(item["wave"]),
        update=_read_update(_mapping(item["update"])),
        ready=Readiness() if ready is None else _read_ready(_list(ready)),
        health=None if health is None else _read_health(_mapping(health)),
        watchdog=_maybe(_number, item.get("watchdog")),
        limits=_read_limits(limits),
    )


def _read_stop(item: Plain) -> StopPolicy:
    return StopPolicy(_whole(item["signal"]), _number(item["grace"]), StopTo(item["to"]))


def _read_restart(item: Plain) -> RestartPolicy:
    give_up = item["give_up"]
    if give_up is not None:
        failures, within = _list(give_up)
        give_up = GiveUp(_whole(failures), _number(within))
    backoff = Backoff(_number(item["initial"]), _number(item["maximum"]))
    return RestartPolicy(RestartWhen(item["when"]), backoff, give_up)


def _read_logs(item: Plain) -> LogPolicy:
    return LogPolicy(
        _maybe(_text, item["file"]),
        _maybe(_whole, item["rotate"]),
        _whole(item["keep"]),
        LogFormat(item["format"]),
        WhenFull(item["full"]),
        _maybe(_number, item.get("rotate_every")),
        _flag(item.get("compress", False)),
        _maybe(_whole, item.get("total")),
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
            return LogLine(_text(pattern))
        case ["after", seconds]:
            return After(_number(seconds))
        case ["tcp", port]:
            return TcpCheck(_whole(port))
        case ["http", url]:
            return HttpCheck(_text(url))
        case ["command", command, argv]:
            return CommandCheck(_text(command), tuple(_text(word) for word in _list(argv)))
        case _:
            raise ValueError(f"no check that is known: {item!r:.60}")


def _read_ready(pair: list[Any]) -> Readiness:
    check, timeout = _read_check(_list(pair[0])), _number(pair[1])
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
    check = _read_check(_list(item["check"]))
    if not isinstance(check, TcpCheck | HttpCheck | CommandCheck):
        raise ValueError("no check that can tell health")
    return Health(check, _number(item["every"]), _number(item["timeout"]), _whole(item["failures"]))


def _read_limits(item: Plain) -> Limits:
    return Limits(
        memory=_maybe(_whole, item.get("memory")),
        cpu=_maybe(_number, item.get("cpu")),
        pids=_maybe(_whole, item.get("pids")),
        jobs=_maybe(_whole, item.get("jobs")),
        age=_maybe(_number, item.get("age")),
        job_timeout=_maybe(_number, item.get("job_timeout")),
    )


def _read_starts(pair: object) -> StartRate:
    if pair is None:
        return StartRate()
    number, within = _list(pair)
    return StartRate(_whole(number), _number(within))


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
        _text(item["name"]),
        _whole(item["uid"]),
        _whole(item["gid"]),
        tuple(_whole(group) for group in _list(item["groups"])),
        _text(item["home"]),
        _text(item["shell"]),
    )


def _read_limit(pair: list[Any]) -> Limit:
    soft, hard = pair
    return Limit(_maybe(_whole, soft), _maybe(_whole, hard))


def _share(share: Share) -> list[Any]:
    return [share.number, share.percent]


def _read_share(pair: list[Any]) -> Share:
    number, percent = pair
    return Share(_whole(number), _flag(percent))


def _read_update(item: Plain) -> UpdatePolicy:
    surge, batch = _read_share(_list(item["surge"])), _read_share(_list(item["batch"]))
    return UpdatePolicy(surge, batch, _number(item["pause"]))


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
        workers=None if workers is None else _whole(workers),
        stopped=_flag(item["stopped"]),
        stopped_slots=frozenset(_whole(slot) for slot in _list(item["stopped_slots"])),
        paused=_flag(item.get("paused", False)),
        paused_slots=frozenset(_whole(slot) for slot in _list(item.get("paused_slots", []))),
        restart=_read_marks(_mapping(item["restart"])),
        retry=_read_marks(_mapping(item["retry"])),
        roll=_read_marks(_mapping(item["roll"])) if "roll" in item else NO_MARKS,
    )


def _marks(marks: Marks) -> Plain:
    return {"everyone": marks.everyone, "slots": [[slot, value] for slot, value in marks.slots.items()]}


def _read_marks(item: Plain) -> Marks:
    slots = {_whole(slot): _number(value) for slot, value in map(_list, _list(item["slots"]))}
    return Marks(_number(item["everyone"]), slots)


def _maybe(read: Callable[[object], T], value: object) -> T | None:
    return None if value is None else read(value)


def _mapping(value: object) -> Plain:
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a mapping, found {value!r:.60}")
    return dict(value)


def _list(value: object) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"expected a list, found {value!r:.60}")
    return list(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r:.60}")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"expected true or false, found {value!r:.60}")
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected a whole number, found {value!r:.60}")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, found {value!r:.60}")
    return value
