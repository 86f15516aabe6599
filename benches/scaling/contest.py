"""Who takes part, and what they reach on a load."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from benches.scaling import oracle
from benches.scaling.baselines import (
    BacklogPerInstance,
    Celery,
    Each,
    Horizon,
    Judoscale,
    Keda,
    Knative,
    PerJob,
    Static,
)
from procq.rules import ScaleRule, Style
from procq.simulate.engine import Fleet, Procq, Settings, simulate
from procq.simulate.load import Load
from procq.simulate.queue import Leave

GRACE: Final = 30.0
"""Seconds that Kubernetes, Heroku and AWS give what they terminate, by default."""
OURS: Final = "procq"
PER_JOB: Final = "perjob30"

Make = Callable[[Load], Fleet]


def _procq(style: Style) -> Make:
    return lambda load: Procq([ScaleRule(wait=load.wait, style=style)])


POLICIES: Final[dict[str, Make]] = {
    OURS: _procq(Style.BALANCED),
    "procq, lazy": _procq(Style.LAZY),
    "procq, eager": _procq(Style.EAGER),
    PER_JOB: lambda load: Each([PerJob()], Leave.IDLE),
    "Celery autoscale": lambda load: Each([Celery()], Leave.IDLE),
    "Horizon, shift 1": lambda load: Horizon(1),
    "Horizon, shift 10": lambda load: Horizon(10),
    "HPA and KEDA": lambda load: Each([Keda()], Leave.YOUNGEST, grace=GRACE),
    "Knative KPA": lambda load: Each([Knative()], Leave.YOUNGEST, grace=GRACE),
    "backlog per instance": lambda load: Each([BacklogPerInstance(load.wait)], Leave.YOUNGEST, grace=GRACE),
    "Judoscale": lambda load: Each([Judoscale(load.wait)], Leave.YOUNGEST, grace=GRACE),
    "static, peak": lambda load: Each([Static(min(load.most, oracle.peak(load)))], Leave.IDLE),
    "static, mean × 1.3": lambda load: Each([Static(oracle.mean(load))], Leave.IDLE),
}


@dataclass(frozen=True, slots=True)
class Score:
    """What one policy reached on one load with one seed."""

    attained: float
    p50: float
    p95: float
    p99: float
    ratio: float
    spawns: int
    reversals: int
    interrupted: int


def score(load: Load, policy: str, boot: float, seed: int) -> Score:
    """Runs one policy on one load. Judoscale is told ages, which it needs; the others are not."""
    settings = Settings(boot=boot, seed=seed, ages=policy == "Judoscale")
    result = simulate([load], POLICIES[policy](load), settings)[0]
    return Score(
        attained=result.attained,
        p50=result.percentile(0.5),
        p95=result.percentile(0.95),
        p99=result.percentile(0.99),
        ratio=result.ratio,
        spawns=result.spawns,
        reversals=result.reversals,
        interrupted=result.interrupted,
    )


def geometric(values: Sequence[float]) -> float:
    """The geometric mean; what is zero counts as a thousandth."""
    return math.exp(sum(math.log(max(value, 1e-3)) for value in values) / len(values))


def mean(values: Sequence[float]) -> float:
    """The mean."""
    return sum(values) / len(values)


def interval(values: Sequence[float]) -> float:
    """Half of the 95 % interval of a mean, by the normal distribution; 0 for one value."""
    if len(values) < 2:
        return 0.0
    middle = mean(values)
    variance = sum((value - middle) ** 2 for value in values) / (len(values) - 1)
    return 1.96 * math.sqrt(variance / len(values))
