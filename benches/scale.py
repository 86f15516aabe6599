"""Live: 1 → 100 and 100 → 1, by `procq scale` and by saving the manifest, the first worker untouched."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from benches.kit import Row, Spread, ms, times
from benches.programs import Ear, Stuck, Watched, bare, compile_worker
from benches.stack import Stack, queue

_MANY = 100
_REPEATS = 7
_COMMAND = 0.080
"""Seconds that the command itself may take."""


def run(scratch: Path) -> list[Row]:
    """Both directions, both ways."""
    program = compile_worker(scratch)
    rows = []
    with Ear(scratch / "ear") as ear:
        command = [str(program), "idle", str(ear.path)]
        up_floor, down_floor = _floors([str(program), "idle", str(ear.path)], ear)
        with Stack(scratch, queue(command, 1)) as stack:
            first = ear.hear("s", 1)[0].pid
            stack.ready()
            time.sleep(0.5)
            ways: dict[str, Callable[[int], None]] = {
                "procq scale": lambda count: stack.run("scale", f"w={count}"),
                "saving": lambda count: stack.save(queue(command, count)),
            }
            for way, change in ways.items():
                ups, downs = _measure(change, ear, first)
                rows += [_row(f"1 → {_MANY} by {way}", ups, up_floor), _row(f"{_MANY} → 1 by {way}", downs, down_floor)]
                if way == "procq scale":
                    stack.run("scale", "w=auto")
    return rows


def _measure(change: Callable[[int], None], ear: Ear, first: int) -> tuple[Spread, Spread]:
    ups, downs = [], []
    for _ in range(_REPEATS):
        began = time.monotonic()
        change(_MANY)
        words = ear.hear("s", _MANY - 1)
        ups.append(max(word.at for word in words) - began)
        time.sleep(0.3)
        watched = Watched([word.pid for word in words])
        began = time.monotonic()
        change(1)
        downs.append(watched.ended() - began)
        watched.close()
        time.sleep(0.3)
        if not os.path.exists(f"/proc/{first}"):
            raise Stuck("the first worker was not kept")
    return Spread(ups), Spread(downs)


def _floors(command: list[str], ear: Ear) -> tuple[Spread, Spread]:
    """A bare loop that starts as many, and one that ends them."""
    ups, downs = [], []
    for _ in range(_REPEATS):
        with bare(command, _MANY - 1, ear) as (seconds, pids):
            ups.append(seconds)
            watched = Watched(pids)
            began = time.monotonic()
            for pid in pids:
                os.kill(pid, 15)
            downs.append(watched.ended() - began)
            watched.close()
    return Spread(ups), Spread(downs)


def _row(what: str, spread: Spread, floor: Spread) -> Row:
    limit = 1.5 * floor.median + _COMMAND
    aim = f"1.5× + 80 ms = {ms(limit)}"
    return Row(what, str(spread), str(floor), times(spread.median / floor.median), aim, spread.median <= limit)
