"""Cold start: from `procq up` until the last worker executes, beside a posix_spawn loop of the same program."""

from __future__ import annotations

from pathlib import Path

from benches.kit import Row, Spread, times
from benches.programs import Ear, compile_worker, floor_start
from benches.stack import Stack, queue

_WORKERS = 1000
_REPEATS = 5


def run(scratch: Path) -> list[Row]:
    """One worker (what the program itself needs), then a thousand."""
    program = compile_worker(scratch)
    floors, ones, thousands = [], [], []
    with Ear(scratch / "ear") as ear:
        command = [str(program), "idle", str(ear.path)]
        for _ in range(_REPEATS):
            floors.append(floor_start(command, _WORKERS, ear))
            ones.append(_up(scratch, command, 1, ear))
            thousands.append(_up(scratch, command, _WORKERS, ear))
    floor, one, thousand = Spread(floors), Spread(ones), Spread(thousands)
    rest = Spread([all_ - own for all_, own in zip(thousands, ones, strict=True)])
    ratio = rest.median / floor.median
    return [
        Row("program start: up → 1 worker executes", str(one)),
        Row(f"up → {_WORKERS} workers execute", str(thousand), str(floor), times(thousand.median / floor.median)),
        Row("the same without program start", str(rest), str(floor), times(ratio), "1.3×", ratio <= 1.3),
    ]


def _up(scratch: Path, command: list[str], workers: int, ear: Ear) -> float:
    with Stack(scratch, queue(command, workers)) as stack:
        return max(word.at for word in ear.hear("s", workers)) - stack.began
