"""`procq up -v` and `--debug`: what is done to workers, why, and what is said to the keeper, in the terminal.

Nothing of this is imported without one of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Protocol

from procq.daemon.options import Options
from procq.endings import ExitStatus, SpawnFailure
from procq.engine.loop import Engine
from procq.engine.port import Announce, AnswerPing, Command
from procq.events import (
    ConfigureRequested,
    Delayed,
    Event,
    Executing,
    Exited,
    Forgotten,
    Gone,
    KeeperEvent,
    ParkRequested,
    Pinged,
    Rescaled,
    Retired,
    SpawnFailed,
    SpawnRequested,
    StopRequested,
    StopSignalled,
)
from procq.model import WorkerId
from procq.text import Style, duration, plain

FRAMES = 2
"""What `Options.verbose` is where each message is told."""
_MOST = 200
"""Lines at once: beyond, it is a flood that nobody reads."""
_LONGEST = 400
"""Characters of a line."""
_ORDERS = {ParkRequested: "park or unpark", ConfigureRequested: "configure", Forgotten: "forget"}
_TIMES = {"at", "deadline", "until"}
_SHORT = (bool, int, float, str, WorkerId, ExitStatus, SpawnFailure)


class Lines:
    """Makes lines for the terminal. `now` is the clock of the engine."""

    def __init__(self, prefix_width: int, color: bool, now: Callable[[], float]) -> None:
        self._style, self._now = Style(color), now
        self._head = f"{'procq':<{prefix_width}} {self._style('·', 'dim')} "

    def of(self, texts: Iterator[str]) -> list[Announce]:
        """What to send for that, where there is something."""
        found = [plain(text) for text in texts]
        if len(found) > _MOST:
            found[_MOST - 1 :] = [f"and {len(found) - _MOST + 1} lines more"]
        lines = tuple(f"{self._head}{self._style(text[:_LONGEST], 'dim')}" for text in found)
        return [Announce(lines)] if lines else []

    def decision(self, event: Event) -> str | None:
        """A spawn, a signal or a decision in words; None for everything else."""
        match event:
            case SpawnRequested(worker, generation, reason=reason):
                return f"spawn {worker} ({generation}): {reason}"
            case StopRequested(worker, generation, deadline, reason=reason):
                return f"stop {worker} ({generation}) within {self._left(deadline)}: {reason}"
            case ParkRequested() | ConfigureRequested() | Forgotten():
                return f"{_ORDERS[type(event)]} {event.worker} ({event.generation}): {event.reason}"
            case Delayed(worker, _, until, reason=reason):
                return f"delay {worker} for {self._left(until)}: {reason}"
            case Retired(worker, _, why, reason=reason):
                return f"rest {worker}, {why.name.lower().replace('_', ' ')}: {reason}"
            case Rescaled(queue, before, after, reason=reason):
                return f"scale {queue} {before} → {after}: {reason}"
            case _:
                return self._fact(event)

    def _fact(self, event: Event) -> str | None:
        match event:
            case Executing(worker, generation, pid):
                return f"{worker} ({generation}) executes, pid {pid}"
            case StopSignalled(worker, generation, deadline):
                return f"{worker} ({generation}) has its stop signal, SIGKILL in {self._left(deadline)}"
            case Exited(worker, generation, status):
                return f"{worker} ({generation}) has ended: {status}"
            case SpawnFailed(worker, generation, failure):
                return f"{worker} ({generation}) cannot be executed: {failure}"
            case Gone(worker, generation, killed):
                return f"{worker} ({generation}) is gone" + (f", {killed} killed" if killed else "")
            case _:
                return None

    def frame(self, arrow: str, frame: Command | KeeperEvent) -> str:
        """One message to or from the keeper: its kind, and what is short in it. Settings and environments are not."""
        parts = [f"{each.name}={self._value(each.name, getattr(frame, each.name))}" for each in fields(frame)]
        return " ".join([arrow, type(frame).__name__, *parts])

    def _value(self, name: str, value: object) -> str:
        if name in _TIMES and isinstance(value, float):
            return f"{value - self._now():+.3f}s"
        if isinstance(value, bytes | tuple):
            return f"<{len(value)}>"
        return str(value) if value is None or isinstance(value, _SHORT) else f"<{type(value).__name__}>"

    def _left(self, moment: float) -> str:
        return duration(max(0.0, moment - self._now()))


def overheard(keeper: Keeper, options: Options) -> tuple[Engine, Keeper]:
    """An engine whose spawns, signals and decisions are told, and its keeper, each message told if wanted."""
    lines = Lines(options.prefix_width, options.color, time.monotonic)
    if options.verbose >= FRAMES:
        keeper = Overheard(keeper, lines)
    engine = Engine(keeper, time.monotonic)
    tell_decisions(engine, lines)
    return engine, keeper


def tell_decisions(engine: Engine, lines: Lines) -> None:
    """Has spawns, signals and decisions told."""

    def happened(events: Sequence[Event]) -> None:
        found = lines.of(text for event in events if (text := lines.decision(event)) is not None)
        for each in found:
            # A subscriber of the engine may not send by itself.
            asyncio.get_running_loop().call_soon(engine.send, each)

    engine.subscribe(happened)


class Keeper(Protocol):
    """What is needed of `LocalKeeper`."""

    def fileno(self) -> int:
        """The descriptor that is readable when `receive` has something to do."""

    def receive(self) -> list[KeeperEvent]:
        """The events that have arrived."""

    def send(self, commands: Sequence[Command]) -> None:
        """Sends in order."""


class Overheard:
    """A keeper, with all that is said told: but pings, and what is said here."""

    def __init__(self, keeper: Keeper, lines: Lines) -> None:
        self._keeper, self._lines = keeper, lines

    def fileno(self) -> int:
        """As of the keeper."""
        return self._keeper.fileno()

    def receive(self) -> list[KeeperEvent]:
        """As of the keeper."""
        events = self._keeper.receive()
        told = self._lines.of(self._lines.frame("←", each) for each in events if not isinstance(each, Pinged))
        if told:
            self._keeper.send(told)
        return events

    def send(self, commands: Sequence[Command]) -> None:
        """As of the keeper."""
        shown = (each for each in commands if not isinstance(each, Announce | AnswerPing))
        self._keeper.send([*self._lines.of(self._lines.frame("→", each) for each in shown), *commands])
