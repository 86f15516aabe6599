"""What the engine asks of whoever runs the workers: today the local keeper, in tests a scripted double."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from procq.model import Queue, WorkerId
from procq.state import Settings

Clock = Callable[[], float]
"""Seconds on the monotonic clock (`time.monotonic`), or a virtual one."""


@dataclass(frozen=True, slots=True)
class SpawnWorker:
    """Start a worker of `queue`; the slot is free, the generation new."""

    worker: WorkerId
    generation: int
    queue: Queue
    fingerprint: str
    project: str
    """The manifest's name."""
    parked: bool = False
    """It takes no jobs before it is told to."""


@dataclass(frozen=True, slots=True)
class StopWorker:
    """Ask this generation to leave: its own stop policy."""

    worker: WorkerId
    generation: int


@dataclass(frozen=True, slots=True)
class ParkWorker:
    """Tell this generation to take no more jobs, or (not `parked`) to take some again."""

    worker: WorkerId
    generation: int
    parked: bool


@dataclass(frozen=True, slots=True)
class ConfigureWorker:
    """Change stop policy and log file while the worker runs."""

    worker: WorkerId
    generation: int
    settings: Settings


@dataclass(frozen=True, slots=True)
class MarkWorkerReady:
    """This generation is ready: to be remembered for the next control plane."""

    worker: WorkerId
    generation: int


@dataclass(frozen=True, slots=True)
class ProbeWorker:
    """Run `argv` once as workers of `queue` run, to look after `worker`; `Probed` tells how it ended.

    `generation` is its own, new one, `looks_after` that of the worker. It is killed with all it has started after
    `timeout` seconds.
    """

    worker: WorkerId
    generation: int
    queue: Queue
    argv: tuple[str, ...]
    timeout: float
    project: str
    looks_after: int = 0


@dataclass(frozen=True, slots=True)
class ForgetWorker:
    """The end of this generation is known and recorded: its record may go."""

    worker: WorkerId
    generation: int


@dataclass(frozen=True, slots=True)
class SaveIntent:
    """Keep this for the next control plane; it replaces what was kept before."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Announce:
    """Lines for the terminal."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeclareReady:
    """The control plane works: `procq up -d` may return."""


@dataclass(frozen=True, slots=True)
class TellService:
    """For the service manager that procq runs under: lines as in sd_notify(3)."""

    state: str


@dataclass(frozen=True, slots=True)
class AnswerPing:
    """Proof of life."""

    number: int


@dataclass(frozen=True, slots=True)
class ShutDown:
    """Stop everything, then leave with `exit_code`."""

    reason: str
    fast: bool = False
    exit_code: int = 0


Command = (
    SpawnWorker
    | StopWorker
    | ParkWorker
    | ConfigureWorker
    | MarkWorkerReady
    | ProbeWorker
    | ForgetWorker
    | SaveIntent
    | Announce
    | DeclareReady
    | TellService
    | AnswerPing
    | ShutDown
)


class EnginePort(Protocol):
    """Takes commands in order and never blocks. Events come back through `Engine.handle`."""

    def send(self, commands: Sequence[Command]) -> None:
        """Sends all of them, in order. Raises ConnectionError when nobody is there any more."""
