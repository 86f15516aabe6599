"""How often the repeated tests repeat: a few dozen here, hundreds in tests/soak, the same code."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields

SEED = int(os.environ.get("PROCQ_TEST_SEED", "20260101"))
"""Every random moment follows from it; a failing test prints it."""


@dataclass(frozen=True, slots=True)
class Trials:
    """Repetitions by kind."""

    control_kills: int
    keeper_kills: int
    sentinel_kills: int
    downs: int
    spawns: int
    early_stops: int
    garbage: int
    cut_offs: int
    reloads: int
    shutdowns: int
    fuzzed: int
    crowds: int
    notices: int
    upgrades: int

    def times(self, factor: int) -> Trials:
        """The same, more often."""
        return Trials(**{field.name: factor * int(getattr(self, field.name)) for field in fields(self)})


CI = Trials(
    control_kills=20,
    keeper_kills=20,
    sentinel_kills=20,
    downs=20,
    spawns=10_000,
    early_stops=200,
    garbage=200,
    cut_offs=300,
    reloads=100,
    shutdowns=100,
    fuzzed=1_000,
    crowds=1,
    notices=500,
    upgrades=4,
)


def bound(trials: int) -> str:
    """What so many trials without a failure show: the rule of three."""
    return f"{trials} trials, 0 failures: at most {3 / trials:.2%} fail (95 % confidence)"


TIMES = int(os.environ.get("PROCQ_TEST_TIMES", "10"))
"""How often tests/soak does what every run does once: 50 makes it a thousand kills."""
OUTAGE = 60 * float(os.environ.get("PROCQ_TEST_OUTAGE", "3"))
"""Seconds for which tests/soak lets a receiver of telemetry be out of order; the variable has minutes."""
SOAK = CI.times(TIMES)
"""What tests/soak repeats."""
