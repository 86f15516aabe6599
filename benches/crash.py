"""Crash: from kill -9 of a worker to the moment its replacement executes, through the whole of procq."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from benches.kit import Row, Spread, times
from benches.programs import Ear, compile_worker, spawn_bare
from benches.stack import Stack, queue

_CRASHES = 200
_PAUSE = 0.02
_AIM = 0.003


def run(scratch: Path) -> list[Row]:
    """Each of many workers once, as the first replacement comes at once; beside a loop that waits and spawns."""
    program = compile_worker(scratch)
    with Ear(scratch / "ear") as ear:
        command = [str(program), "idle", str(ear.path)]
        floor = Spread(_floor(command, ear))
        rows = []
        for queues, label in ((1, "one queue of"), (20, "20 queues, together")):
            manifest = queue(command, _CRASHES) if queues == 1 else _queues(command, queues, _CRASHES // queues)
            with Stack(scratch, manifest) as stack:
                pids = [word.pid for word in ear.hear("s", _CRASHES)]
                stack.ready()
                time.sleep(1)
                spread = Spread([_crash(pid, ear) for pid in pids])
            what = f"kill -9 → executing, {label} {_CRASHES} workers"
            ratio = times(spread.median / floor.median)
            rows.append(Row(what, str(spread), str(floor), ratio, "median 3 ms", spread.median <= _AIM))
    return rows


def _queues(command: list[str], queues: int, workers: int) -> str:
    parts = [queue(command, workers).replace("  w:", f"  w{n}:").removeprefix("queues:\n") for n in range(queues)]
    return "queues:\n" + "".join(parts)


def _crash(pid: int, ear: Ear) -> float:
    time.sleep(_PAUSE)
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    return ear.hear("s", 1)[0].at - began


def _floor(command: list[str], ear: Ear) -> list[float]:
    """A parent that only waits and spawns again."""
    samples = []
    pid = spawn_bare(command)
    ear.hear("s", 1)
    for _ in range(_CRASHES):
        time.sleep(_PAUSE / 4)
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        pid = spawn_bare(command)
        samples.append(ear.hear("s", 1)[0].at - began)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return samples
