"""How hard the machine is pressed: the kernel's pressure stall information, the memory that is available, the load.

Where a control group of ours, or one above it, has a limit, what counts is the worse of the machine and of the group:
in a container the machine may be idle while we are not. Formats: Documentation/accounting/psi.rst and
Documentation/admin-guide/cgroup-v2.rst of the kernel. It is read in well under a millisecond.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from procq.scaling.guard import Pressure

_PROC: Final = Path("/proc")
_GROUPS: Final = Path("/sys/fs/cgroup")
_CACHE: Final = ("inactive_file", "active_file", "slab_reclaimable")
"""What the kernel gives back before anybody has to wait, as it counts it for MemAvailable."""


class Gauge:
    """Reads the pressure. `cores` are those of the machine."""

    def __init__(self, proc: Path = _PROC, groups: Path = _GROUPS, cores: int | None = None) -> None:
        self._proc = proc
        self._groups = groups
        self._cores = cores or os.cpu_count() or 1

    def read(self) -> Pressure:
        """The pressure now; None for what this machine does not tell."""
        cpu = [_stalled(self._proc / "pressure/cpu", "some")]
        memory = [_stalled(self._proc / "pressure/memory", "full")]
        available = [_available(self._proc / "meminfo")]
        for group in self._own():
            if _limit(group, "memory.max", "memory.high") is not None:
                memory.append(_stalled(group / "memory.pressure", "full"))
                available.append(_available_in(group))
            if _limit(group, "cpu.max") is not None:
                cpu.append(_stalled(group / "cpu.pressure", "some"))
        return Pressure(_most(cpu), _most(memory), _least(available), self._load())

    def _load(self) -> float | None:
        words = _text(self._proc / "loadavg").split()
        number = _number(words[0]) if words else None
        return None if number is None else number / self._cores

    def _own(self) -> Iterator[Path]:
        """The control group that we are in, and those above it, as far as they are to be seen. Only of version 2."""
        if not (self._groups / "cgroup.controllers").exists():
            return
        for line in _text(self._proc / "self/cgroup").splitlines():
            path = line.removeprefix("0::/")
            if path != line and ".." not in path.split("/"):
                inside = Path(path)
                yield from (self._groups / each for each in (inside, *inside.parents))


def _stalled(path: Path, kind: str) -> float | None:
    """The share of the last ten seconds that somebody ("some") or everybody ("full") has waited."""
    for line in _text(path).splitlines():
        words = line.split()
        if words[:1] == [kind]:
            values = (_number(word.removeprefix("avg10=")) for word in words if word.startswith("avg10="))
            return next((value / 100 for value in values if value is not None), None)
    return None


def _available(meminfo: Path) -> float | None:
    """The share of the machine's memory that can be had without swapping."""
    numbers = _table(meminfo)
    total, available = numbers.get("MemTotal:"), numbers.get("MemAvailable:")
    return None if not total or available is None else available / total


def _available_in(group: Path) -> float | None:
    """The same of what a control group may have: its limit, without what it holds that cannot be given back."""
    limit, current = _limit(group, "memory.max", "memory.high"), _number(_text(group / "memory.current"))
    if limit is None or current is None:
        return None
    statistics = _table(group / "memory.stat")
    held = max(0.0, current - sum(statistics.get(name, 0.0) for name in _CACHE))
    return max(0.0, 1 - held / limit) if limit else 0.0


def _limit(group: Path, *names: str) -> float | None:
    """The lowest limit; None where all are `max`, or do not exist as in the group at the root."""
    found = (_number(words[0]) for name in names if (words := _text(group / name).split()))
    return _least(list(found))


def _table(path: Path) -> dict[str, float]:
    """The first two words of each line, where the second is a number."""
    rows = (line.split(maxsplit=2) for line in _text(path).splitlines())
    pairs = ((row[0], _number(row[1])) for row in rows if len(row) > 1)
    return {name: number for name, number in pairs if number is not None}


def _text(path: Path) -> str:
    """What a file holds; "" where it is missing, or the kernel refuses it, as it does pressure with `psi=0`."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _most(values: list[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _least(values: list[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)
