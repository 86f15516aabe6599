"""Four queues of different priority on one budget, which for half an hour cannot carry all of them.

Each queue's share of jobs in time, its waits and what it costs; by the sharing of production, by shares that are
fixed, and by Horizon's balancing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from benches.scaling.baselines import Horizon
from procq.rules import Claim, ScaleRule
from procq.scaling.budget import Budget
from procq.scaling.signals import Signals
from procq.simulate.engine import Fleet, Procq, Settings, simulate
from procq.simulate.load import Load, exponential
from procq.simulate.queue import Leave
from procq.simulate.result import Result
from procq.simulate.synthetic import HOUR, poisson

BUDGET: Final = 18
SINCE: Final = 0.5 * HOUR
UNTIL: Final = 1.0 * HOUR
"""When more comes than the budget can carry."""
_END: Final = 2.0 * HOUR
_LOOK: Final = 5


@dataclass(frozen=True, slots=True)
class Kind:
    """A queue: jobs a second usually and in the rush, seconds that a job takes and may wait, and what it may claim."""

    name: str
    usual: float
    rush: float
    takes: float
    wait: float
    claim: Claim

    def load(self, seed: int, most: int) -> Load:
        """Its jobs."""
        dice = random.Random(f"priority:{seed}:{self.name}")
        times = poisson(dice, lambda at: self.rush if SINCE <= at < UNTIL else self.usual, self.rush, _END - 60)
        return Load(self.name, times, exponential(dice, self.takes, len(times)), _END, self.wait, most)


KINDS: Final = (
    Kind("payments", 4.0, 10.0, 0.5, 10.0, Claim(priority=10)),
    Kind("emails", 3.0, 8.0, 1.0, 30.0, Claim(priority=5, weight=2.0)),
    Kind("webhooks", 3.0, 8.0, 1.0, 30.0, Claim(priority=5)),
    Kind("reports", 0.4, 1.0, 5.0, 300.0, Claim()),
)
"""Work for 10 workers usually, and for 26 in the rush."""
_SHARES: Final = (4, 5, 5, 4)
"""The budget in proportion to their work."""
_WEIGHTS: Final = (4.0, 2.0, 1.0, 1.0)


class Deaf(Procq):
    """Workers that cannot be told to take no more jobs: whoever is busy and has to go is interrupted."""

    def __init__(self, rules: Sequence[ScaleRule], budget: Budget | None = None, claims: Sequence[Claim] = ()) -> None:
        super().__init__(rules, budget, claims)
        self.leave = Leave.AT_ONCE

    def targets(self, signals: Sequence[Signals]) -> Sequence[int]:
        """As the policies decide, cut to the budget."""
        return super().targets([replace(each, parkable=0) for each in signals])


def _procq(claims: Sequence[Claim], kind: type[Procq] = Procq) -> Fleet:
    return kind([ScaleRule(wait=each.wait) for each in KINDS], Budget(workers=BUDGET), claims)


PRIORITIES: Final = "procq, priorities"
DEAF: Final = "procq, priorities, workers that cannot be parked"
FIXED: Final = "procq, fixed shares"
WAYS: Final[dict[str, Callable[[], Fleet]]] = {
    PRIORITIES: lambda: _procq([each.claim for each in KINDS]),
    DEAF: lambda: _procq([each.claim for each in KINDS], Deaf),
    "procq, weights alone": lambda: _procq([Claim(weight=weight) for weight in _WEIGHTS]),
    "procq, all equal": lambda: _procq([]),
    FIXED: lambda: Procq([ScaleRule(wait=each.wait) for each in KINDS]),
    "Horizon, shift 1": lambda: Horizon(1, BUDGET),
    "Horizon, shift 10": lambda: Horizon(10, BUDGET),
}


Runs = Sequence[Sequence[Result]]
"""With each seed, what became of each queue."""


def contest(boot: float, seeds: int) -> dict[str, Runs]:
    """All ways, with so many seeds."""
    return {way: [run(way, boot, seed) for seed in range(seeds)] for way in WAYS}


def run(way: str, boot: float, seed: int) -> list[Result]:
    """What becomes of each queue."""
    most = _SHARES if way == FIXED else [BUDGET] * len(KINDS)
    loads = [kind.load(seed, each) for kind, each in zip(KINDS, most, strict=True)]
    return simulate(loads, WAYS[way](), Settings(boot=boot, seed=seed, moments=_LOOK))


def recovered(result: Result) -> float | None:
    """Seconds from the end of the rush until no job waits longer than it may for the first time; None: never."""
    calm = (moment.at for moment in result.moments if moment.at >= UNTIL and moment.wait <= result.wait)
    at = next(calm, None)
    return None if at is None else at - UNTIL


def starved(result: Result) -> float:
    """The most seconds for which a job waited longer than it may and no worker was ready, to a few seconds.

    A worker that is ready is at a job while another one waits; one that boots is not, nor does one that leaves count.
    """
    longest, since = 0.0, None
    for moment in result.moments:
        if moment.wait <= result.wait or moment.busy:
            since = None
        elif since is None:
            since = moment.at
        if since is not None:
            longest = max(longest, moment.at - since)
    return longest
