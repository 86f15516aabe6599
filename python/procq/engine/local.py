"""The local keeper as an engine port: translates commands and events to and from the messages of `procq.core.Link`.

Nothing else touches the link. Messages are dictionaries whose kinds and fields are those of the protocol; durations
there are milliseconds, times nanoseconds of the monotonic clock. Messages of kinds unknown here are skipped: the
keeper may be newer than we are.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol, assert_never

from procq.engine.blob import cut
from procq.engine.environment import Environments
from procq.engine.port import (
    Announce,
    AnswerPing,
    Command,
    ConfigureWorker,
    DeclareReady,
    ForgetWorker,
    MarkWorkerReady,
    ParkWorker,
    ProbeWorker,
    SaveIntent,
    ShutDown,
    SpawnWorker,
    StopWorker,
    TellService,
)
from procq.engine.reading import Reader
from procq.events import Attached, KeeperEvent, Refused
from procq.model import Limit, LogLine, LogPolicy, Notify, Queue, Spawned, StopPolicy, WhenFull, WorkerId
from procq.state import Settings

PROTOCOL: Final = 1
_LARGEST_SPAWN: Final = 1_000_000
"""Bytes of arguments, environment and paths: a frame takes a mebibyte."""
_UNLIMITED: Final = 2**64 - 1
_LONGEST_LINE: Final = 4096
"""Characters of a line for the terminal."""
Message = dict[str, Any]


class Link(Protocol):
    """What is needed of `procq.core.Link`."""

    def fileno(self) -> int:
        """The descriptor that is readable when `drain` has something to do."""

    def send(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Sends in order without blocking. Raises ConnectionError when the keeper is gone."""

    def drain(self) -> list[Message]:
        """Everything that has arrived. Raises ConnectionError at the end of the stream."""

    def close(self) -> None:
        """Closes the socket."""


class LocalKeeper:
    """The keeper that started this process, at the other end of `link`.

    `environ` is the environment procq was started with, which workers inherit; `traced`: traces of them are sent.
    """

    def __init__(self, link: Link, environ: Mapping[bytes, bytes], traced: bool = False) -> None:
        self._link = link
        self._environments = Environments(environ, traced)
        self._reader = Reader()
        self._too_large: dict[int, str] = {}
        link.send([{"t": "hello", "oldest": PROTOCOL, "newest": PROTOCOL}])

    def fileno(self) -> int:
        """The descriptor that is readable when `receive` has something to do."""
        return self._link.fileno()

    def receive(self) -> list[KeeperEvent]:
        """The events that have arrived. Raises ConnectionError when the keeper is gone, ValueError for garbage."""
        events = self._reader.read(self._link.drain())
        for place, event in enumerate(events):
            match event:
                case Attached():
                    self._environments.instance = event.instance
                case Refused(generation=generation) if generation in self._too_large:
                    events[place] = replace(event, why=self._too_large.pop(generation))
        return events

    def send(self, commands: Sequence[Command]) -> None:
        """Sends in order, without blocking. Raises ConnectionError when the keeper is gone."""
        messages: list[Message] = []
        for command in commands:
            messages.extend(self._messages(command))
        self._link.send(messages)

    def close(self) -> None:
        """Hangs up; the keeper starts another control plane."""
        self._link.close()

    def _messages(self, command: Command) -> list[Message]:
        match command:
            case SpawnWorker():
                return [self._spawn(command)]
            case StopWorker() | MarkWorkerReady() | ForgetWorker():
                return [{"t": _SHORT[type(command)], "worker": str(command.worker), "generation": command.generation}]
            case ParkWorker(worker, generation, parked):
                return [{"t": "park", "worker": str(worker), "generation": generation, "parked": parked}]
            case ConfigureWorker(worker, generation, settings):
                message = {"t": "configure", "worker": str(worker), "generation": generation}
                return [message | _settings(settings, worker)]
            case ProbeWorker():
                return [self._probe(command)]
            case SaveIntent(data):
                return [
                    {"t": "blob", "part": p.part, "parts": p.parts, "crc": p.crc, "data": p.data} for p in cut(data)
                ]
            case _:
                return [_about_all(command)]

    def _spawn(self, command: SpawnWorker) -> Message:
        queue = command.queue
        return {
            **self._program(command, queue.argv),
            "worker": str(command.worker),
            "fingerprint": command.fingerprint,
            "tty": queue.tty,
            "parked": command.parked,
            "watchdog": None if queue.watchdog is None else round(queue.watchdog * 1000),
            **_settings(Settings.of(queue), command.worker),
        }

    def _probe(self, command: ProbeWorker) -> Message:
        return {
            **self._program(command, command.argv),
            "worker": f"{command.worker}/health",
            "fingerprint": "",
            "probe": round(command.timeout * 1000),
        }

    def _program(self, command: SpawnWorker | ProbeWorker, words: Sequence[str]) -> Message:
        queue = command.queue
        argv = [os.fsencode(word) for word in words]
        looks_after = command.looks_after if isinstance(command, ProbeWorker) else None
        env = self._environments.of(queue, command.project, command.worker, command.generation, looks_after)
        size = sum(map(len, argv)) + sum(map(len, env)) + 5 * (len(argv) + len(env))
        if size > _LARGEST_SPAWN:
            # Without a command the keeper refuses it, which uses up the generation and needs no way of its own.
            self._too_large[command.generation] = f"command and environment take {size} bytes: shorten them"
            argv, env = [], []
        return {
            "t": "spawn",
            "generation": command.generation,
            "argv": argv,
            "env": env,
            "directory": os.fsencode(queue.directory),
            **_surroundings(queue),
        }


_READY_BY: Final = {Spawned: "spawned", Notify: "notify", LogLine: "line"}
"""What the keeper itself sees; of all else it is told."""

_SHORT = {StopWorker: "stop", MarkWorkerReady: "mark_ready", ForgetWorker: "forget"}
"""Kinds of messages that hold nothing but whom they are about."""


def _about_all(command: Announce | DeclareReady | TellService | AnswerPing | ShutDown) -> Message:
    match command:
        case Announce(lines):
            return {"t": "console", "lines": [_line(line) for line in lines]}
        case DeclareReady():
            return {"t": "ready"}
        case TellService(state):
            return {"t": "service_state", "state": state[:_LONGEST_LINE].encode("utf-8", "replace").decode()}
        case AnswerPing(number):
            return {"t": "pong", "n": number}
        case ShutDown(reason, fast, exit_code):
            return {"t": "shutdown", "fast": fast, "exit_code": exit_code, "reason": _line(reason)}
        case _:
            assert_never(command)


def _surroundings(queue: Queue) -> Message:
    user = queue.user
    return {
        "umask": queue.umask,
        "nice": queue.nice,
        "user": None if user is None else {"uid": user.uid, "gid": user.gid, "groups": list(user.groups)},
        "limits": [_limit(name, limit) for name, limit in queue.rlimits.items()],
    }


def _limit(name: str, limit: Limit) -> Message:
    soft, hard = (_UNLIMITED if value is None else value for value in (limit.soft, limit.hard))
    return {"resource": getattr(resource, f"RLIMIT_{name.upper()}"), "soft": soft, "hard": hard}


def _settings(settings: Settings, worker: WorkerId) -> Message:
    return {
        "stop": _stop(settings.stop),
        "wave": settings.wave,
        "log": _log(settings.logs, worker),
        "ready": _READY_BY.get(type(settings.ready.check), "told"),
        "ready_line": settings.ready_line,
        "memory": settings.memory,
        "pids": settings.pids,
    }


def _log(logs: LogPolicy, worker: WorkerId) -> Message | None:
    path = logs.path(worker)
    if path is None:
        return None
    # Only what is closed can be removed.
    rotate = logs.total // 4 if logs.rotate is None and logs.total is not None else logs.rotate
    return {
        "path": os.fsencode(path),
        "format": logs.format.value,
        "rotate": rotate,
        "keep": logs.keep,
        "block": logs.full is WhenFull.BLOCK,
        "rotate_every": None if logs.rotate_every is None else round(logs.rotate_every * 1000),
        "compress": logs.compress,
        "total": logs.total,
    }


def _line(text: str) -> str:
    """`text` as a frame takes it: names of files need not be Unicode, nor short."""
    short = text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 1]}…"
    return short.encode("utf-8", "replace").decode()


def _stop(policy: StopPolicy) -> Message:
    return {"signal": int(policy.signal), "to": policy.to.value, "grace": round(policy.grace * 1000)}
