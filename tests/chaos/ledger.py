"""What the players wrote down, read back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.process.support import processes

Process = tuple[int, int]
"""Number and start time: two processes of one number differ."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger: what a player did, `at` seconds of the monotonic clock."""

    at: float
    process: Process
    worker: str
    instance: str
    generation: int
    what: str
    about: str = ""

    @property
    def queue(self) -> str:
        return self.worker.rpartition(".")[0]

    @property
    def slot(self) -> int:
        return int(self.worker.rpartition(".")[2])


def read(path: Path) -> list[Entry]:
    """The whole ledger, in the order in which it was written."""
    return parse(path.read_text()) if path.exists() else []


def parse(text: str) -> list[Entry]:
    found = []
    for line in text.splitlines():
        at, pid, ticks, worker, instance, generation, what, *about = line.split(" ")
        found.append(Entry(float(at), (int(pid), int(ticks)), worker, instance, int(generation), what, *about[:1]))
    return found


def alive(process: Process) -> bool:
    found = processes.stat(process[0])
    return found is not None and found.started == process[1] and found.state not in "ZX"


_LINE = re.compile(rb"([\w.]+)/(\w+)/(\d+) (\d+)")
Numbers = dict[tuple[str, str, int], list[int]]
"""The numbers of each worker, instance and generation, in the order of the files."""


def numbers(files: Iterable[Path], may_be_torn: bool = False) -> tuple[Numbers, list[str]]:
    """What players have written, and the lines that are none; the last one of a file `may_be_torn`."""
    found: Numbers = {}
    wrong = []
    for file in files:
        lines = file.read_bytes().split(b"\n")
        for n, line in enumerate(lines):
            parsed = _LINE.fullmatch(line)
            if parsed:
                key = (parsed[1].decode(), parsed[2].decode(), int(parsed[3]))
                found.setdefault(key, []).append(int(parsed[4]))
            elif line and not (may_be_torn and n == len(lines) - 1):
                wrong.append(f"{file.name}: no line of a player: {line[:80]!r}")
    return found, wrong
