"""What workers use of the machine, looked at now and then for scaling: who does nothing, and what one of them takes.

A worker that does not say what it does is taken for idle while its tree uses next to no processor time, and has no more
processes than when it had fewest: a library that forks for each job has one more at work.
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


@dataclass(frozen=True, slots=True)
class _Look:
    pid: int
    at: float
    seconds: float
    fewest: int
    quiet: bool


@dataclass(frozen=True, slots=True)
class Use:
    """What one worker of a queue takes on average: bytes of memory, and cores."""

    memory: float = 0.0
    cpus: float = 0.0


@dataclass(slots=True)
class Users:
    """The workers of the queues that somebody asked about. `read` is `procq.core.usage`."""

    read: Read
    _looks: dict[WorkerId, _Look] = field(default_factory=dict)
    _uses: dict[str, Use] = field(default_factory=dict)
    _at: float = float("-inf")

    async def look(self, queues: Mapping[str, QueueState], names: Collection[str], now: float) -> None:
        """Looks at the workers of `names`, if it is time to. In a thread: it reads a file for every process."""
        if not names or now - self._at < EVERY:
            return
        self._at = now
        workers = {
            WorkerId(name, slot): state.pid
            for name in names
            for slot, state in (queues[name].workers.items() if name in queues else ())
            if isinstance(state, Running)
        }
        used = await asyncio.to_thread(self.read, [(pid, NO_LIMIT) for pid in workers.values()])
        looks: dict[WorkerId, _Look] = {}
        shares: dict[str, list[tuple[int, float]]] = {}
        for (worker, pid), (seconds, memory, processes, _) in zip(workers.items(), used, strict=True):
            if not processes:
                continue
            last = self._looks.get(worker)
            look, rate = _compare(last if last is not None and last.pid == pid else None, pid, now, seconds, processes)
            looks[worker] = look
            shares.setdefault(worker.queue, []).append((memory, rate))
        self._looks = looks
        self._uses |= {name: Use(fmean(m for m, _ in each), fmean(c for _, c in each)) for name, each in shares.items()}

    def quiet(self, name: str) -> set[int]:
        """The slots of a queue whose workers seem to do nothing."""
        return {worker.slot for worker, look in self._looks.items() if worker.queue == name and look.quiet}

    def use(self, name: str) -> Use:
        """What a worker of a queue takes, as far as that was seen."""
        return self._uses.get(name, Use())


def _compare(last: _Look | None, pid: int, now: float, seconds: float, processes: int) -> tuple[_Look, float]:
    if last is None:
        return _Look(pid, now, seconds, processes, False), 0.0
    rate = max(0.0, seconds - last.seconds) / max(now - last.at, 0.1)
    fewest = min(last.fewest, processes)
    return _Look(pid, now, seconds, fewest, rate <= _AT_REST and processes <= fewest), rate
