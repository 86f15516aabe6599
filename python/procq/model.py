"""The desired state: what a manifest means, once everything in it has been read and checked.

All values are final: variables expanded, defaults applied, paths absolute, units converted (seconds, bytes).
Nothing here knows where a value came from, how it is shown, or what runs.
"""

from __future__ import annotations

import hashlib
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

_PLACEHOLDER = re.compile(r"\{(?:\{|queue\}|slot\})")
_EMPTY: Mapping[str, str] = MappingProxyType({})


MAX_WORKERS = 10_000
"""Most workers of a queue: more are a typing mistake."""


class RestartWhen(StrEnum):
    """After which ends of a worker another one takes its slot."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class StopPolicy:
    """How a worker is asked to leave: `signal` to its leader, SIGKILL to its whole tree after `grace` seconds."""

    signal: int = signal.SIGTERM
    grace: float = 10.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds before a restart: the first is immediate, then `initial`, doubling up to `maximum`."""

    initial: float = 0.1
    maximum: float = 30.0


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When, and after how long, a worker that ended is replaced."""

    when: RestartWhen = RestartWhen.ALWAYS
    backoff: Backoff = Backoff()


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """Where output goes besides memory.

    `file` is an absolute path that may hold `{queue}` and `{slot}`; `{{` stands for a brace that is a part of it.
    """

    file: str | None = None

    def path(self, worker: WorkerId) -> str | None:
        """The file that takes the output of `worker`; None: memory only."""
        if self.file is None:
            return None
        values = {"{{": "{", "{queue}": worker.queue, "{slot}": str(worker.slot)}
        return _PLACEHOLDER.sub(lambda found: values[found[0]], self.file)


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue: the command that works it, and how many workers it deserves.

    `argv` is the final argument vector (`/bin/sh -c …` for `shell: yes`); `command` is the text a person wrote, for
    display.
    `env` holds only what the manifest adds to the environment procq was started with.
    """

    name: str
    command: str
    argv: tuple[str, ...]
    workers: int = 1
    directory: str = "/"
    env: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    stop: StopPolicy = StopPolicy()
    restart: RestartPolicy = RestartPolicy()
    logs: LogPolicy = LogPolicy()

    @property
    def fingerprint(self) -> str:
        """Hash of everything whose change replaces the workers (nature *rolling*); equal text means equal workers."""
        parts = [self.directory, *self.argv, "", *(f"{k}={v}" for k, v in sorted(self.env.items()))]
        return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole file: the queues by name, in the file's order. `directory` is where the file is."""

    name: str
    queues: Mapping[str, Queue]
    directory: str = "/"


@dataclass(frozen=True, slots=True, order=True)
class WorkerId:
    """`queue.slot`; slots count from 1."""

    queue: str
    slot: int

    def __str__(self) -> str:
        return f"{self.queue}.{self.slot}"

    @classmethod
    def parse(cls, text: str) -> WorkerId:
        """The inverse of `str`. Raises ValueError where `text` does not end in a dot and a slot number."""
        queue, _, slot = text.rpartition(".")
        if not queue or not slot.isdecimal():
            raise ValueError(f"not a worker id: {text!r}")
        return cls(queue, int(slot))
