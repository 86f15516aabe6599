"""The intent as plain data (dicts, lists, strings, numbers, booleans, None) and back, versioned.

It outlives the control plane that wrote it, and may be read by a newer or an older one. Keys unknown to the reader are
ignored; another version, or anything else that is not what `encode` writes, raises `Unreadable`, never half an intent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from procq.intent import Adjustment, Intent, Marks
from procq.model import Backoff, LogPolicy, Manifest, Queue, RestartPolicy, RestartWhen, StopPolicy

VERSION: Final = 1

Plain = dict[str, Any]


class Unreadable(ValueError):
    """The data is not an intent that this version of procq wrote."""


def encode(intent: Intent) -> Plain:
    """The intent as plain data."""
    manifest = intent.manifest
    return {
        "version": VERSION,
        "name": manifest.name,
        "directory": manifest.directory,
        "queues": [_queue(queue) for queue in manifest.queues.values()],
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
        manifest = Manifest(_text(plain["name"]), {q.name: q for q in queues}, _text(plain["directory"]))
        adjustments = {
            _text(name): _read_adjustment(_mapping(item)) for name, item in _mapping(plain["adjustments"]).items()
        }
        return Intent(manifest, adjustments)
    except Unreadable:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"the saved intent is damaged: {type(error).__name__}: {error}") from error


def _queue(queue: Queue) -> Plain:
    return {
        "name": queue.name,
        "command": queue.command,
        "argv": list(queue.argv),
        "workers": queue.workers,
        "directory": queue.directory,
        "env": dict(queue.env),
        "stop": {"signal": int(queue.stop.signal), "grace": queue.stop.grace},
        "restart": {
            "when": queue.restart.when.value,
            "initial": queue.restart.backoff.initial,
            "maximum": queue.restart.backoff.maximum,
        },
        "logs": {"file": queue.logs.file},
    }


def _read_queue(item: Plain) -> Queue:
    stop, restart, logs = _mapping(item["stop"]), _mapping(item["restart"]), _mapping(item["logs"])
    file = logs["file"]
    return Queue(
        name=_text(item["name"]),
        command=_text(item["command"]),
        argv=tuple(_text(word) for word in _list(item["argv"])),
        workers=_whole(item["workers"]),
        directory=_text(item["directory"]),
        env={_text(k): _text(v) for k, v in _mapping(item["env"]).items()},
        stop=StopPolicy(_whole(stop["signal"]), _number(stop["grace"])),
        restart=RestartPolicy(
            RestartWhen(restart["when"]), Backoff(_number(restart["initial"]), _number(restart["maximum"]))
        ),
        logs=LogPolicy(None if file is None else _text(file)),
    )


def _adjustment(a: Adjustment) -> Plain:
    return {
        "workers": a.workers,
        "stopped": a.stopped,
        "stopped_slots": sorted(a.stopped_slots),
        "restart": _marks(a.restart),
        "retry": _marks(a.retry),
    }


def _read_adjustment(item: Plain) -> Adjustment:
    workers = item["workers"]
    return Adjustment(
        workers=None if workers is None else _whole(workers),
        stopped=_flag(item["stopped"]),
        stopped_slots=frozenset(_whole(slot) for slot in _list(item["stopped_slots"])),
        restart=_read_marks(_mapping(item["restart"])),
        retry=_read_marks(_mapping(item["retry"])),
    )


def _marks(marks: Marks) -> Plain:
    return {"everyone": marks.everyone, "slots": [[slot, value] for slot, value in marks.slots.items()]}


def _read_marks(item: Plain) -> Marks:
    slots = {_whole(slot): _number(value) for slot, value in map(_list, _list(item["slots"]))}
    return Marks(_number(item["everyone"]), slots)


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
