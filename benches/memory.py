"""Memory (PSS) of sentinel, keeper and control plane, output captured, every worker having written ten lines."""

from __future__ import annotations

import time
from pathlib import Path

from benches.kit import Row, mib
from benches.processes import pss
from benches.programs import Ear, compile_worker
from benches.stack import Stack, queue

_WORKERS = 1000
_LINES = "10"
_SETTLE = 3.0
_BASE = 45 << 20
_EACH = 15 << 10


def run(scratch: Path) -> list[Row]:
    """No worker, then a thousand."""
    program = compile_worker(scratch)
    with Ear(scratch / "ear") as ear:
        command = [str(program), "talk", str(ear.path), _LINES]
        base = _measure(scratch, command, 0, ear)
        full = _measure(scratch, command, _WORKERS, ear)
    each = (sum(full) - sum(base)) / _WORKERS
    total = sum(base)
    return [
        Row("no worker: sentinel + keeper + control plane", _parts(base), aim="45 MiB", met=total <= _BASE),
        Row(
            f"{_WORKERS} workers: the same",
            _parts(full),
            aim="45 MiB + 15 KiB each",
            met=sum(full) <= _BASE + _EACH * _WORKERS,
        ),
        Row("a worker", f"{each / 1024:.1f} KiB", aim="15 KiB", met=each <= _EACH),
        Row("a worker, in the keeper", f"{(full[1] - base[1]) / _WORKERS / 1024:.1f} KiB"),
        Row("a worker, in the control plane", f"{(full[2] - base[2]) / _WORKERS / 1024:.1f} KiB"),
    ]


def _measure(scratch: Path, command: list[str], workers: int, ear: Ear) -> list[int]:
    with Stack(scratch, queue(command, workers)) as stack:
        ear.hear("s", workers)
        pids = stack.ready()
        time.sleep(_SETTLE)
        return [pss(pid) for pid in pids.all]


def _parts(sizes: list[int]) -> str:
    return f"{' + '.join(mib(size).removesuffix(' MiB') for size in sizes)} = {mib(sum(sizes))}"
