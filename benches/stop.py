"""Stop: `procq down` with a hundred workers that leave when told, and with a hundred that do not listen."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benches.kit import Row, Spread, ms
from benches.programs import Ear, Watched, compile_worker
from benches.stack import Stack, queue

_WORKERS = 100
_REPEATS = 5
_GRACE = 2.0


@dataclass(frozen=True, slots=True)
class _Stop:
    """Seconds from the first signal until the last worker has ended, and of the whole command."""

    workers: float
    command: float


def run(scratch: Path) -> list[Row]:
    """Both kinds."""
    program = compile_worker(scratch)
    rows = []
    with Ear(scratch / "ear") as ear:
        for mode, extra, limit in (("polite", 0.0, 0.050), ("stubborn", _GRACE, 0.150)):
            stops = [_stop(scratch, program, mode, ear) for _ in range(_REPEATS)]
            workers = Spread([stop.workers - extra for stop in stops])
            command = Spread([stop.command for stop in stops])
            beyond = f"signal + {ms(extra)} → gone" if extra else "signal → gone"
            rows += [
                Row(f"{_WORKERS} {mode}: {beyond}", str(workers), "", "", ms(limit), workers.median <= limit),
                Row(f"{_WORKERS} {mode}: procq down, all of it", str(command)),
            ]
    return rows


def _stop(scratch: Path, program: Path, mode: str, ear: Ear) -> _Stop:
    manifest = queue([str(program), mode, str(ear.path)], _WORKERS, stop_grace=f"{_GRACE:g}s")
    with Stack(scratch, manifest) as stack:
        watched = Watched([word.pid for word in ear.hear("s", _WORKERS)])
        stack.ready()
        began = time.monotonic()
        down = stack.start("down")
        ended = watched.ended()
        watched.close()
        told = [word.at for word in ear.hear("t", _WORKERS)]
        down.communicate()
        if down.returncode:
            raise subprocess.CalledProcessError(down.returncode, down.args)
        command = time.monotonic() - began
    return _Stop(ended - min(told), command)
