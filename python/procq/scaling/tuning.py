"""The constants of the policy. They were tuned on made-up loads, and then tried once on others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from procq.rules import Style

TICK: Final = 1.0
"""Seconds between two decisions."""
WAIT: Final = 30.0
"""The objective where a manifest gives a range and a source and says no more, in seconds."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """An idle worker is kept for `boots` times what a boot takes, and for `least` seconds at least."""

    boots: float
    least: float


KEEPING: Final = {
    Style.LAZY: Keeping(1.0, 2.0),
    Style.BALANCED: Keeping(3.0, 5.0),
    Style.EAGER: Keeping(10.0, 30.0),
}


@dataclass(frozen=True, slots=True)
class Tuning:
    """`goal` is the share of jobs that is aimed at, above the 95 % that are promised.

    A worker is started when a job would wait longer than `late` to `early` of the objective; which, feedback decides,
    which moves by `gain` for each job. `stretch` is how many times longer idle workers are kept at most. The floor
    against cold starts is enough for `enough` of the jobs, and for more where feedback asks for it.
    """

    goal: float = 0.975
    late: float = 0.9
    early: float = 0.3
    gain: float = 0.003
    stretch: float = 32.0
    enough: float = 0.99


TUNING: Final = Tuning()
