"""What workers use of the machine, measured when somebody asks and never otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from procq.model import WorkerId
from procq.state import QueueState, Running, Stopping

_SHORTEST = 0.5
"""Seconds between two looks that are enough for a rate: the kernel counts in hundredths."""
NO_LIMIT: Final = 2**64 - 1
"""More bytes than there are."""

Used = tuple[float, int, int, int]
"""Seconds of processor time, bytes of memory, processes, threads."""
Read = Callable[[Sequence[tuple[int, int]]], Sequence[Used]]


@dataclass(frozen=True, slots=True)
class Load:
    """A whole process tree. `cpu` is in cores (1.0 keeps one busy), `memory` resident bytes, shared pages for each.

    `seconds` of processor time are what its processes have taken since it began; less where some of them are gone.
    """

    cpu: float
    memory: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Look:
    pid: int
    at: float
    seconds: float
    rate: float


class Meter:
    """Rates are means since the last look, the first one since the worker started. `read` is `procq.core.usage`."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._looks: dict[WorkerId, _Look] = {}

    def measure(self, queues: Mapping[str, QueueState], now: float) -> dict[WorkerId, Load]:
        """The load of every worker that runs. Takes milliseconds: not for a loop that must not wait."""
        workers = {
            WorkerId(name, slot): (state.pid, state.at)
            for name, queue in queues.items()
            for slot, state in queue.workers.items()
            if isinstance(state, Running | Stopping) and state.pid
        }
        loads: dict[WorkerId, Load] = {}
        looks: dict[WorkerId, _Look] = {}
        used = self._read([(pid, NO_LIMIT) for pid, _ in workers.values()])
        for (worker, (pid, since)), (seconds, memory, processes, _) in zip(workers.items(), used, strict=True):
            if processes:
                look = looks[worker] = self._look(self._looks.get(worker), pid, since, seconds, now)
                loads[worker] = Load(look.rate, memory, seconds)
        self._looks = looks
        return loads

    def _look(self, last: _Look | None, pid: int, since: float, seconds: float, now: float) -> _Look:
        if last is None or last.pid != pid:
            return _Look(pid, now, seconds, seconds / max(now - since, _SHORTEST))
        if now - last.at < _SHORTEST:
            return last
        # A child that ended without being waited for takes its time along: never below nothing.
        return _Look(pid, now, seconds, max(0.0, seconds - last.seconds) / (now - last.at))
