"""Memory (PSS) of sentinel, keeper and control plane, output captured, every worker having written ten lines."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benches.kit import Row, mib
from benches.processes import footprint, pss
from benches.programs import Ear, compile_worker
from benches.stack import Stack, queue

_WORKERS = 1000
_LINES = "10"
_SETTLE = 3.0
_BASE = 45 << 20
_EACH = 15 << 10


def run(scratch: Path) -> list[Row]:
    """No worker, then a thousand; PSS, and what it would be if nobody else on the machine ran Python."""
    program = compile_worker(scratch)
    with Ear(scratch / "ear") as ear:
        command = [str(program), "talk", str(ear.path), _LINES]
        base = _measure(scratch, command, 0, ear)
        full = _measure(scratch, command, _WORKERS, ear)
    each = (full.whole - base.whole) / _WORKERS
    limit = _BASE + _EACH * _WORKERS
    return [
        _row("no worker: sentinel + keeper + control plane", base, "45 MiB", _BASE),
        _row(f"{_WORKERS} workers: the same", full, "45 MiB + 15 KiB each", limit),
        Row("a worker", f"{each / 1024:.1f} KiB", aim="15 KiB", met=each <= _EACH),
        Row("of which in the keeper", _each(base, full, 1)),
        Row("of which in the control plane", _each(base, full, 2)),
    ]


@dataclass(frozen=True, slots=True)
class _Memory:
    """PSS of each process, and all three without what is shared with anybody else."""

    parts: tuple[int, ...]
    whole: int


def _measure(scratch: Path, command: list[str], workers: int, ear: Ear) -> _Memory:
    with Stack(scratch, queue(command, workers)) as stack:
        ear.hear("s", workers)
        pids = stack.ready()
        time.sleep(_SETTLE)
        return _Memory(tuple(pss(pid) for pid in pids.all), footprint(pids.all))


def _row(what: str, memory: _Memory, aim: str, limit: int) -> Row:
    parts = " + ".join(mib(size).removesuffix(" MiB") for size in memory.parts)
    measured = f"{parts} = {mib(sum(memory.parts))}; nothing shared: {mib(memory.whole)}"
    return Row(what, measured, aim=aim, met=sum(memory.parts) <= limit)


def _each(base: _Memory, full: _Memory, part: int) -> str:
    return f"{(full.parts[part] - base.parts[part]) / _WORKERS / 1024:.1f} KiB"
