"""The local keeper as an engine port: translates commands and events to and from the messages of `procq.core.Link`.

Nothing else touches the link. Messages are dictionaries whose kinds and fields are those of the protocol; durations
there are milliseconds, times nanoseconds of the monotonic clock. Messages of kinds unknown here are skipped: the
keeper may be newer than we are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
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
    SaveIntent,
    ShutDown,
    SpawnWorker,
    StopWorker,
)
from procq.engine.reading import Reader
from procq.events import Attached, KeeperEvent
from procq.model import LogPolicy, StopPolicy, WorkerId

PROTOCOL: Final = 1
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

    `environ` is the environment procq was started with, which workers inherit.
    """

    def __init__(self, link: Link, environ: Mapping[bytes, bytes], project: str) -> None:
        self._link = link
        self._environments = Environments(environ, project)
        self._reader = Reader()
        link.send([{"t": "hello", "oldest": PROTOCOL, "newest": PROTOCOL}])

    def fileno(self) -> int:
        """The descriptor that is readable when `receive` has something to do."""
        return self._link.fileno()

    def receive(self) -> list[KeeperEvent]:
        """The events that have arrived. Raises ConnectionError when the keeper is gone, ValueError for garbage."""
        events = self._reader.read(self._link.drain())
        for event in events:
            if isinstance(event, Attached):
                self._environments.instance = event.instance
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
            case StopWorker(worker, generation):
                return [{"t": "stop", "worker": str(worker), "generation": generation}]
            case ConfigureWorker(worker, generation, settings):
                message = {"t": "configure", "worker": str(worker), "generation": generation}
                return [message | {"stop": _stop(settings.stop), "log": _log(settings.logs, worker)}]
            case ForgetWorker(worker, generation):
                return [{"t": "forget", "worker": str(worker), "generation": generation}]
            case SaveIntent(data):
                return [
                    {"t": "blob", "part": p.part, "parts": p.parts, "crc": p.crc, "data": p.data} for p in cut(data)
                ]
            case Announce(lines):
                return [{"t": "console", "lines": list(lines)}]
            case DeclareReady():
                return [{"t": "ready"}]
            case AnswerPing(number):
                return [{"t": "pong", "n": number}]
            case ShutDown(reason, fast, exit_code):
                return [{"t": "shutdown", "fast": fast, "exit_code": exit_code, "reason": reason}]
            case _:
                assert_never(command)

    def _spawn(self, command: SpawnWorker) -> Message:
        queue = command.queue
        return {
            "t": "spawn",
            "worker": str(command.worker),
            "generation": command.generation,
            "fingerprint": command.fingerprint,
            "argv": [os.fsencode(word) for word in queue.argv],
            "env": self._environments.of(queue, command.worker, command.generation),
            "directory": os.fsencode(queue.directory),
            "stop": _stop(queue.stop),
            "log": _log(queue.logs, command.worker),
        }


def _log(logs: LogPolicy, worker: WorkerId) -> bytes | None:
    path = logs.path(worker)
    return None if path is None else os.fsencode(path)


def _stop(policy: StopPolicy) -> Message:
    return {"signal": int(policy.signal), "grace": round(policy.grace * 1000)}
