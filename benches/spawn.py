"""One worker: from the request to its exec, keeper only, on an idle and on a busy machine. The gate of CI is here."""

from __future__ import annotations

import os
import time
from pathlib import Path

from benches.keeper import Keeper, bare_spawn, busy, owned
from benches.kit import Row, Spread, ms, times

GATE = 0.100
"""Seconds that ninety-nine of a hundred spawns may take."""
_GATE_SPAWNS = 200
_GATE_SECONDS = 11.0
_SPAWNS = 1000


def run(_: Path) -> list[Row]:
    """Idle and busy."""
    rows = []
    with owned() as keeper:
        for label, loops in (("idle", 0), ("busy", os.cpu_count() or 1)):
            with busy(loops):
                floor = Spread([bare_spawn() for _ in range(_SPAWNS // 2)])
                spread = Spread([keeper.spawn() for _ in range(_SPAWNS)])
            aim, met = ("median 2 ms", spread.median <= 0.002) if not loops else ("p99 100 ms", spread.p99 <= GATE)
            rows.append(
                Row(f"request → exec, {label}", str(spread), str(floor), times(spread.median / floor.median), aim, met)
            )
    return rows


def gate() -> list[str]:
    """Why the gate is shut; empty when it is open. Prints what was measured."""
    faults = []
    with owned() as keeper:
        for label, loops in (("idle", 0), ("busy", os.cpu_count() or 1)):
            with busy(loops):
                spread = Spread(_spawns(keeper))
            print(f"spawn gate, {label} machine: request → exec {spread}")
            if len(spread.samples) < _GATE_SPAWNS:
                faults.append(f"{label}: {len(spread.samples)} of {_GATE_SPAWNS} spawns in {_GATE_SECONDS:g} s")
            if spread.p99 > GATE:
                faults.append(f"{label}: p99 is {ms(spread.p99)}, and may be {ms(GATE)}")
    return faults


def _spawns(keeper: Keeper) -> list[float]:
    deadline = time.monotonic() + _GATE_SECONDS
    samples: list[float] = []
    while len(samples) < _GATE_SPAWNS and time.monotonic() < deadline:
        samples.append(keeper.spawn())
    return samples
