"""Three queues that share one budget of workers: what a common budget gains over fixed shares."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from benches.scaling.baselines import Horizon
from procq.rules import ScaleRule
from procq.scaling.budget import Budget
from procq.simulate.engine import Fleet, Procq, Settings, simulate
from procq.simulate.load import Load, exponential
from procq.simulate.synthetic import HOUR, PAUSE, poisson

BUDGET: Final = 18


def loads(seed: int, most: int) -> list[Load]:
    """Each queue has its rush at another time, and then needs more than a third of the budget."""
    made = []
    for index in range(3):
        dice = random.Random(f"budget:{seed}:{index}")
        since = 900.0 + 1500.0 * index
        times = poisson(dice, lambda at, since=since: 10.0 if since <= at < since + 1200 else 1.0, 10.0, 1.5 * HOUR)  # type: ignore[misc]
        services = exponential(dice, 1.0, len(times))
        made.append(Load(f"queue {index + 1}", times, services, 1.5 * HOUR + PAUSE, most=most))
    return made


def rows(boot: float, seeds: int) -> list[tuple[str, float, float, int]]:
    """For each way: the worst queue's share of jobs in time, hours for each hour of work, and workers started."""
    found = []
    for name in ("procq, one budget", "procq, fixed shares", "Horizon, shift 1", "Horizon, shift 10"):
        worst, hours, work, spawns = 1.0, 0.0, 0.0, 0
        for seed in range(seeds):
            made = loads(seed, BUDGET // 3 if "fixed" in name else BUDGET)
            for result in simulate(made, _fleet(name, made), Settings(boot=boot, seed=seed)):
                worst = min(worst, result.attained)
                hours, work, spawns = hours + result.worker_seconds, work + result.work, spawns + result.spawns
        found.append((name, worst, hours / work, spawns // seeds))
    return found


def _fleet(name: str, made: Sequence[Load]) -> Fleet:
    if name.startswith("Horizon"):
        return Horizon(int(name.rsplit(maxsplit=1)[-1]), BUDGET)
    rules = [ScaleRule(wait=load.wait) for load in made]
    return Procq(rules, None if "fixed" in name else Budget(workers=BUDGET))
