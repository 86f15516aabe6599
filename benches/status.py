"""How long `procq status` takes, from the shell's point of view, beside a Python that does nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benches.kit import Row, Spread, ms, timed, times
from benches.programs import Ear, compile_worker
from benches.stack import Stack, queue

_RUNS = 30
_LIMIT = 0.100


def run(scratch: Path) -> list[Row]:
    """The table, JSON, and the workers of a queue; with 10 and with 1,000 workers."""
    program = compile_worker(scratch)
    floor = _many(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
    rows = []
    with Ear(scratch / "ear") as ear:
        for workers in (10, 1000):
            with Stack(scratch, queue([str(program), "idle", str(ear.path)], workers)) as stack:
                ear.hear("s", workers)
                stack.ready()
                for arguments in (["status"], ["status", "--json"]):
                    spread = _many(lambda words=arguments: stack.run(*words))  # type: ignore[misc]
                    what = f"procq {' '.join(arguments)}, {workers} workers"
                    ratio = times(spread.median / floor.median)
                    rows.append(Row(what, str(spread), str(floor), ratio, ms(_LIMIT), spread.median <= _LIMIT))
    return rows


def _many(act: Callable[[], object]) -> Spread:
    return Spread([timed(act) for _ in range(_RUNS)])
