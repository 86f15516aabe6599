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
    """How readily idle workers are kept.

    At first for `boots` times what a boot takes, and for `least` seconds at least. When there is something to learn
    from, a boot is worth as much as an idle worker for `price` seconds at least, and for `prices` times a boot.
    `gathers`: while no worker is needed yet, jobs may wait for others to share one.
    """

    boots: float
    least: float
    prices: float
    price: float
    gathers: bool = True

    def usual(self, boot: float) -> float:
        """Seconds of keeping where nothing was learnt."""
        return max(self.least, self.boots * boot)

    def worth(self, boot: float) -> float:
        """Seconds of an idle worker that a boot is worth."""
        return max(self.price, self.prices * boot)


KEEPING: Final = {
    Style.LAZY: Keeping(1.0, 2.0, 1.0, 3.0),
    Style.BALANCED: Keeping(3.0, 5.0, 2.5, 10.0),
    Style.EAGER: Keeping(10.0, 30.0, 10.0, 60.0, gathers=False),
}


@dataclass(frozen=True, slots=True)
class Tuning:
    """`goal` is the share of jobs that is aimed at, above the 95 % that are promised.

    A worker is started when a job would wait longer than `late` to `early` of the objective; which, feedback decides,
    which moves by `gain` for each job. `stretch` is how many times longer idle workers are kept at most. Where a boot
    takes longer than the objective, `cold` is the goal, and the floor is enough for `enough` of the jobs, and for more
    where feedback asks for it.
    """

    goal: float = 0.975
    cold: float = 0.993
    late: float = 0.9
    early: float = 0.3
    gain: float = 0.003
    stretch: float = 32.0
    enough: float = 0.998


TUNING: Final = Tuning()
