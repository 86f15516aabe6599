"""CPU of sentinel, keeper and control plane while a hundred workers sleep and nobody watches."""

from __future__ import annotations

import time
from pathlib import Path

from benches.kit import Row
from benches.processes import cpu
from benches.programs import Ear, compile_worker
from benches.stack import Stack, queue

_WORKERS = 100
_SECONDS = 30.0
_SETTLE = 3.0


def run(scratch: Path) -> list[Row]:
    """Shares of one core."""
    program = compile_worker(scratch)
    with Ear(scratch / "ear") as ear, Stack(scratch, queue([str(program), "idle", str(ear.path)], _WORKERS)) as stack:
        ear.hear("s", _WORKERS)
        pids = stack.ready()
        time.sleep(_SETTLE)
        began, before = time.monotonic(), [cpu(pid) for pid in pids.all]
        time.sleep(_SECONDS)
        seconds, after = time.monotonic() - began, [cpu(pid) for pid in pids.all]
    sentinel, keeper, plane = ((late - early) / seconds for late, early in zip(after, before, strict=True))
    rust, everything = sentinel + keeper, sentinel + keeper + plane
    return [
        Row("sentinel + keeper", _share(rust), aim="0.02 %", met=rust <= 0.0002),
        Row("control plane", _share(plane)),
        Row("all three", _share(everything), aim="0.3 %", met=everything <= 0.003),
    ]


def _share(share: float) -> str:
    return f"{share * 100:.4f} %"
