"""What workers use of the machine, looked at now and then for scaling: who does nothing, and what one of them takes.

A worker that does not say what it does is taken for idle while its tree uses next to no processor time, and has no more
processes than when it had fewest: a library that forks for each job has one more at work.

What one of them takes is averaged over a minute: what the machine bears is shared by it, and a worker that is there
must not leave for a measurement that is a little different.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final

from procq.meter import NO_LIMIT, Read
from procq.model import WorkerId
from procq.state import QueueState, Running

EVERY: Final = 5.0
"""Seconds between two looks."""
_AT_REST: Final = 0.01
"""Cores that a worker uses at most while it only waits for jobs."""
_OVER: Final = 60.0
"""Seconds over which what workers take is averaged."""


@dataclass(frozen=True, slots=True)
class _Look:
    pid: int
    at: float
    seconds: float
    fewest: int
    quiet: bool
    ready: bool


@dataclass(frozen=True, slots=True)
class Use:
    """What one worker of a queue takes on average: bytes of memory, and cores."""

    memory: float = 0.0
    cpus: float = 0.0


@dataclass(slots=True)
class _Average:
    """An average of the last minute or so."""

    value: float = 0.0
    _seen: float = 0.0

    def take(self, value: float, seconds: float) -> None:
        """So it has been for so many seconds."""
        self._seen = min(self._seen + seconds, max(_OVER, seconds))
        self.value += (value - self.value) * seconds / self._seen


@dataclass(slots=True)
class _Taken:
    """What the workers of one queue take, `at` when it was last looked at."""

    at: float
    memory: _Average = field(default_factory=_Average)
    cpus: _Average = field(default_factory=_Average)

    def take(self, memory: float, cpus: float, now: float) -> None:
        seconds, self.at = max(now - self.at, 0.1), now
        self.memory.take(memory, seconds)
        self.cpus.take(cpus, seconds)


@dataclass(slots=True)
class Users:
    """The workers of the queues that somebody asked about. `read` is `procq.core.usage`."""

    read: Read
    _looks: dict[WorkerId, _Look] = field(default_factory=dict)
    _taken: dict[str, _Taken] = field(default_factory=dict)
    _first: dict[str, float] = field(default_factory=dict)
    """Bytes that a worker took of queues none of whose workers has been seen at work yet."""
    _at: float = float("-inf")

    async def look(self, queues: Mapping[str, QueueState], names: Collection[str], now: float) -> None:
        """Looks at the workers of `names`, if it is time to. In a thread: it reads a file for every process."""
        if not names or now - self._at < EVERY:
            return
        self._at = now
        workers = {
            WorkerId(name, slot): state
            for name in names
            for slot, state in (queues[name].workers.items() if name in queues else ())
            if isinstance(state, Running)
        }
        used = await asyncio.to_thread(self.read, [(state.pid, NO_LIMIT) for state in workers.values()])
        looks: dict[WorkerId, _Look] = {}
        known: dict[str, list[tuple[int, float]]] = {}
        first: dict[str, list[int]] = {}
        for (worker, state), (seconds, memory, processes, _) in zip(workers.items(), used, strict=True):
            if not processes:
                continue
            last = self._looks.get(worker)
            if last is not None and last.pid != state.pid:
                last = None
            looks[worker], rate = _compare(last, state, now, seconds, processes)
            if last is not None and last.ready:
                known.setdefault(worker.queue, []).append((memory, rate))
            else:
                # A boot is not what a worker takes, and nobody knows yet what one does that was not there before.
                first.setdefault(worker.queue, []).append(memory)
        self._looks = looks
        self._first |= {name: fmean(each) for name, each in first.items() if name not in self._taken}
        for name, shares in known.items():
            taken = self._taken.setdefault(name, _Taken(now - EVERY))
            taken.take(fmean(memory for memory, _ in shares), fmean(rate for _, rate in shares), now)

    def quiet(self, name: str) -> set[int]:
        """The slots of a queue whose workers seem to do nothing."""
        return {worker.slot for worker, look in self._looks.items() if worker.queue == name and look.quiet}

    def use(self, name: str) -> Use:
        """What a worker of a queue takes, as far as that was seen."""
        taken = self._taken.get(name)
        return Use(self._first.get(name, 0.0)) if taken is None else Use(taken.memory.value, taken.cpus.value)


def _compare(last: _Look | None, state: Running, now: float, seconds: float, processes: int) -> tuple[_Look, float]:
    ready = state.ready is not None
    if last is None:
        return _Look(state.pid, now, seconds, processes, False, ready), 0.0
    rate = max(0.0, seconds - last.seconds) / max(now - last.at, 0.1)
    fewest = min(last.fewest, processes)
    return _Look(state.pid, now, seconds, fewest, rate <= _AT_REST and processes <= fewest, ready), rate
