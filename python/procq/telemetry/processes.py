"""What procq's own processes use of the machine, read once whenever somebody asks. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
# Places in /proc/PID/stat, counted from what follows the name, which may have spaces and brackets in it.
_USER, _SYSTEM, _THREADS, _STARTED, _RESIDENT = 11, 12, 17, 19, 21


@dataclass(frozen=True, slots=True)
class Process:
    """One of them: seconds of processor time since it began, resident bytes, how much it has open, seconds of age.

    Time is counted by the kernel in hundredths of a second.
    """

    name: str
    seconds: float
    memory: int
    descriptors: int
    threads: int
    age: float


def look(pids: Mapping[str, int], root: Path = Path("/proc")) -> tuple[Process, ...]:
    """Those of `pids` that can be looked at, by name: a few small files, and no more however much runs."""
    return tuple(_looks(pids, root))


def _looks(pids: Mapping[str, int], root: Path) -> Iterator[Process]:
    for name, pid in pids.items():
        try:
            up = float((root / "uptime").read_text().split()[0])
            yield _process(name, root / str(pid), up)
        except (OSError, ValueError, IndexError):
            # It has just ended, or it may not be looked at, or this is another system.
            continue


def _process(name: str, folder: Path, up: float) -> Process:
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    seconds = (int(fields[_USER]) + int(fields[_SYSTEM])) * _TICK
    age = up - int(fields[_STARTED]) * _TICK
    return Process(
        name,
        seconds,
        int(fields[_RESIDENT]) * _PAGE,
        _descriptors(folder / "fd"),
        int(fields[_THREADS]),
        max(0.0, age),
    )


def _descriptors(folder: Path) -> int:
    # Since Linux 6.2 the size of the directory is their number; it was 0 before.
    return os.stat(folder).st_size or len(os.listdir(folder))
