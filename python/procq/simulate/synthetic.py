"""Loads that are made up, each for one thing that is hard about scaling. The same seed makes the same load."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable, Iterator
from typing import Final

from procq.errors import UsageError
from procq.simulate.load import Failures, Load, exponential

Rate = Callable[[float], float]
"""Jobs a second at a time."""

HOUR: Final = 3600.0
PAUSE: Final = 60.0
"""At the end of each load nothing comes for so long, so that the last jobs are judged as well."""


def poisson(dice: random.Random, rate: Rate, most: float, seconds: float) -> array[float]:
    """Arrivals at a rate that changes and never exceeds `most`, by thinning (Lewis and Shedler, 1979)."""
    times: array[float] = array("d")
    at = dice.expovariate(most)
    while at < seconds:
        if dice.random() * most < rate(at):
            times.append(at)
        at += dice.expovariate(most)
    return times


def diurnal(dice: random.Random) -> Load:
    """Two days of an hour and a half each: from one job in two seconds up to eight a second and back."""
    seconds = 3 * HOUR
    times = poisson(dice, lambda at: 4.25 - 3.75 * math.cos(4 * math.pi * at / seconds), 8.0, seconds)
    return Load("diurnal", times, exponential(dice, 1.0, len(times)), seconds + PAUSE)


def step(dice: random.Random) -> Load:
    """One job a second, at once ten for half an hour, and one again."""
    times = poisson(dice, lambda at: 10.0 if 1800 <= at < 3600 else 1.0, 10.0, 1.5 * HOUR)
    return Load("step", times, exponential(dice, 1.0, len(times)), 1.5 * HOUR + PAUSE)


def flash(dice: random.Random) -> Load:
    """Four flash crowds, each thirty times the usual load for two minutes."""
    times = poisson(dice, lambda at: 15.0 if at % 1800 >= 1500 and at % 1800 < 1620 else 0.5, 15.0, 2 * HOUR)
    return Load("flash crowd", times, exponential(dice, 1.0, len(times)), 2 * HOUR + PAUSE)


def on_off(dice: random.Random) -> Load:
    """Five jobs a second for a minute, then nothing for three, each span as long as chance will have it."""
    spans = list(_spans(dice, 60.0, 180.0, 3 * HOUR))
    times = array("d", (at for since, until in spans for at in _steady(dice, 5.0, since, until)))
    return Load("on/off", times, exponential(dice, 0.5, len(times)), 3 * HOUR + PAUSE, wait=10.0)


def heavy_tail(dice: random.Random) -> Load:
    """One job a second, of which a few take minutes: Pareto 1.5 with a mean of two seconds, ten minutes at most."""
    times = poisson(dice, lambda _: 1.0, 1.0, 2 * HOUR)
    services = array("d", (min(600.0, 2 / 3 * dice.paretovariate(1.5)) for _ in times))
    return Load("heavy tail", times, services, 2 * HOUR + PAUSE)


def drift(dice: random.Random) -> Load:
    """Three jobs a second, which come to take three times as long within half an hour."""
    times = poisson(dice, lambda _: 3.0, 3.0, 2 * HOUR)
    services = array("d", (dice.expovariate(1 / (0.5 + min(1.0, max(0.0, (at - 1800) / 1800)))) for at in times))
    return Load("drift", times, services, 2 * HOUR + PAUSE, wait=10.0)


def long_jobs(dice: random.Random) -> Load:
    """A job every eight seconds that takes about a minute, where none is to wait longer than ten seconds."""
    times = poisson(dice, lambda at: 0.125 - 0.075 * math.cos(2 * math.pi * at / HOUR), 0.2, 3 * HOUR)
    services = array("d", (dice.lognormvariate(math.log(60.0) - 0.125, 0.5) for _ in times))
    return Load("long jobs", times, services, 3 * HOUR + PAUSE, wait=10.0)


def retry_storm(dice: random.Random) -> Load:
    """Two jobs a second; for ten minutes four of five fail, and come again up to five times."""
    times = poisson(dice, lambda _: 2.0, 2.0, 1.5 * HOUR)
    failures = Failures(1800.0, 2400.0, 0.8)
    return Load("retry storm", times, exponential(dice, 1.0, len(times)), 1.5 * HOUR + PAUSE, failures=failures)


def cliff(dice: random.Random) -> Load:
    """A job every two seconds, and three hundred that are all due at the same moment, every half hour."""
    calm = poisson(dice, lambda _: 0.5, 0.5, 2 * HOUR)
    due = array("d", (at for at in (1200.0, 3000.0, 4800.0, 6600.0) for _ in range(300)))
    times = array("d", sorted([*calm, *due]))
    return Load("cliff", times, exponential(dice, 1.0, len(times)), 2 * HOUR + PAUSE, due=due)


def failing_source(dice: random.Random) -> Load:
    """As `diurnal`, and four times the source says nothing for two minutes."""
    seconds = 2 * HOUR
    times = poisson(dice, lambda at: 3.25 - 2.75 * math.cos(4 * math.pi * at / seconds), 6.0, seconds)
    outages = tuple((at, at + 120.0) for at in (600.0, 2400.0, 4500.0, 6000.0))
    return Load("failing source", times, exponential(dice, 1.0, len(times)), seconds + PAUSE, outages=outages)


def roll_out(dice: random.Random) -> Load:
    """Two jobs a second and bursts of twelve; every worker is replaced in the middle of one."""
    times = poisson(dice, lambda at: 12.0 if at % 1800 >= 900 and at % 1800 < 1200 else 2.0, 12.0, 1.5 * HOUR)
    services = exponential(dice, 1.0, len(times))
    return Load("roll-out", times, services, 1.5 * HOUR + PAUSE, rollouts=(1000.0, 2800.0, 4600.0))


def several(dice: random.Random) -> Load:
    """As `step`, by workers that take four jobs at a time."""
    times = poisson(dice, lambda at: 40.0 if 1800 <= at < 3600 else 4.0, 40.0, 1.5 * HOUR)
    return Load("four at a time", times, exponential(dice, 1.0, len(times)), 1.5 * HOUR + PAUSE, concurrency=4)


def _spans(dice: random.Random, on: float, off: float, seconds: float) -> Iterator[tuple[float, float]]:
    at = dice.expovariate(1 / off)
    while at < seconds:
        until = min(seconds, at + dice.expovariate(1 / on))
        yield at, until
        at = until + dice.expovariate(1 / off)


def _steady(dice: random.Random, rate: float, since: float, until: float) -> Iterator[float]:
    at = since + dice.expovariate(rate)
    while at < until:
        yield at
        at += dice.expovariate(rate)


LOADS: Final[dict[str, Callable[[random.Random], Load]]] = {
    "diurnal": diurnal,
    "step": step,
    "flash": flash,
    "on-off": on_off,
    "heavy-tail": heavy_tail,
    "drift": drift,
    "long-jobs": long_jobs,
    "retry-storm": retry_storm,
    "cliff": cliff,
    "failing-source": failing_source,
    "roll-out": roll_out,
    "several": several,
}
"""By the name that a command line gives."""


def named(name: str, seed: int) -> Load:
    """One of `LOADS`; raises `UsageError` where there is none of that name."""
    if name not in LOADS:
        raise UsageError(f"There is no load {name!r}.", f"Name a CSV file, or one of: {', '.join(LOADS)}.")
    return LOADS[name](random.Random(f"{name}:{seed}"))
