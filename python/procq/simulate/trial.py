"""A load under one setting of a queue, and the cheapest setting that meets the objective."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from procq.errors import UsageError
from procq.rules import ScaleRule, Style
from procq.simulate.engine import Settings, simulate_one
from procq.simulate.load import Load, between, read_csv
from procq.simulate.result import Result
from procq.simulate.synthetic import LOADS, named

PROMISED: Final = 0.95
"""The share of jobs that `wait` promises to begin in time."""
_JOB_TIME: Final = 1.0
_WEEK: Final = 7 * 86_400.0
_MARGIN: Final = 1.25
"""A ceiling leaves a quarter above what was needed."""


@dataclass(frozen=True, slots=True)
class Trial:
    """`load` with at least `least` workers, whose boots take `boot` seconds, by `style`."""

    load: Load
    style: Style = Style.BALANCED
    least: int = 0
    boot: float = 3.0
    seed: int = 0

    def run(self, moments: int = 0) -> Result:
        """What becomes of it; with `moments` it can be drawn."""
        settings = Settings(self.boot, self.seed, self.least, moments=moments)
        return simulate_one(self.load, ScaleRule(wait=self.load.wait, style=self.style), settings)

    def step(self, points: int) -> int:
        """Seconds between the moments of a chart that has so many."""
        return max(1, math.ceil(self.load.seconds / points))


@dataclass(frozen=True, slots=True)
class Found:
    """One setting, and what came of it."""

    trial: Trial
    result: Result

    @property
    def meets(self) -> bool:
        """Whether it keeps the promise."""
        return self.result.attained >= PROMISED


def load_of(name: str, wait: float | None, most: int | None, job_time: float | None, seed: int) -> Load:
    """A load by its name, or out of a CSV file. What is None stays as the load has it.

    Raises UsageError for what is neither.
    """
    if name in LOADS:
        load = named(name, seed)
        if job_time is not None:
            factor = job_time * len(load.services) / load.work
            load = replace(load, services=array("d", (each * factor for each in load.services)))
    elif Path(name).suffix.lower() == ".csv" or Path(name).exists():
        load = read_csv(Path(name), _JOB_TIME if job_time is None else job_time, seed)
        if load.seconds > _WEEK:
            load = between(load, load.seconds - _WEEK, load.seconds)
    else:
        raise UsageError(f"There is no load {name!r}.", f"Name a CSV file, or one of: {', '.join(LOADS)}.")
    return within(load, wait, most)


def within(load: Load, wait: float | None, most: int | None) -> Load:
    """The load with another objective, or another number of workers at most. What is None stays."""
    load = load if wait is None else replace(load, wait=wait)
    return load if most is None else replace(load, most=most)


def settings(trial: Trial) -> Iterator[Trial]:
    """What is tried: each style, and floors from the given one on."""
    floors = {trial.least, trial.least + 1, trial.least + 2, trial.least + 4, trial.least + 8}
    for least in sorted(floors):
        if least <= trial.load.most:
            for style in Style:
                yield replace(trial, style=style, least=least)


def cheapest(trial: Trial, said: Callable[[Found], None]) -> Found:
    """The setting of fewest worker hours that meets the objective; where none does, the one that comes closest.

    Floors are raised only while no style meets it without. `said` is called with each that was tried.
    """
    found: list[Found] = []
    for each in settings(trial):
        if each.style is next(iter(Style)) and any(one.meets for one in found):
            break
        found.append(Found(each, each.run()))
        said(found[-1])
    meeting = [each for each in found if each.meets]
    if not meeting:
        return max(found, key=lambda each: each.result.attained)
    return min(meeting, key=lambda each: (each.result.worker_seconds, each.result.spawns))


def snippet(found: Found) -> list[str]:
    """The setting as the lines of a manifest."""
    trial, most = found.trial, min(found.trial.load.most, math.ceil(_MARGIN * found.result.peak))
    wait = f"{trial.load.wait:g}s"
    return [
        f"workers: {trial.least}..{max(most, trial.least + 1)}",
        "scale:",
        f"  wait: {wait}",
        f"  style: {trial.style}",
    ]
