"""What a simulation is fed with: when jobs come, how long each takes, and what goes wrong meanwhile."""

from __future__ import annotations

import csv
import random
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from procq.errors import UsageError

_JOBS_AT_MOST: Final = 5_000_000


@dataclass(frozen=True, slots=True)
class Failures:
    """Jobs begun between two times fail with a probability, and come again, up to `attempts` times in all.

    The first time after `pause` seconds, and after twice as many each time.
    """

    since: float
    until: float
    probability: float
    attempts: int = 5
    pause: float = 5.0


@dataclass(frozen=True, slots=True)
class Load:
    """Jobs in the order in which they come, `arrivals[n]` taking `services[n]` seconds; times begin at 0.

    It lasts `seconds`; the objective is that 95 % of the jobs begin within `wait` seconds, with at most `most`
    workers. `due` are those arrivals that the source knows beforehand. In an `outages` span it does not answer.
    `rollouts` are times at which every worker is replaced. One worker takes `concurrency` jobs at a time.
    """

    name: str
    arrivals: Sequence[float]
    services: Sequence[float]
    seconds: float
    wait: float = 30.0
    most: int = 200
    due: Sequence[float] = ()
    outages: tuple[tuple[float, float], ...] = ()
    failures: Failures | None = None
    rollouts: tuple[float, ...] = ()
    concurrency: int = 1

    @property
    def work(self) -> float:
        """Seconds of pure service in it, if each job is done once."""
        return sum(self.services)

    def silent(self, at: float) -> bool:
        """Whether the source does not answer at a time."""
        return any(since <= at < until for since, until in self.outages)


def exponential(random_: random.Random, mean: float, count: int) -> array[float]:
    """Times of jobs that are as often short as they are seldom long."""
    return array("d", (random_.expovariate(1 / mean) for _ in range(count)))


def from_times(name: str, times: Iterable[float], job_time: float, seed: int) -> Load:
    """A load of known arrivals, in seconds; jobs take an exponential time with that mean."""
    arrivals = array("d", sorted(times))
    if not arrivals:
        raise UsageError(f"{name} has no arrivals.", "It needs at least one row with a time or a count.")
    first = arrivals[0]
    arrivals = array("d", (at - first for at in arrivals))
    services = exponential(random.Random(f"{name}:{seed}"), job_time, len(arrivals))
    return Load(name, arrivals, services, arrivals[-1] + 60.0)


def from_counts(name: str, counts: Sequence[float], interval: float, job_time: float, seed: int) -> Load:
    """A load of so many jobs in each interval of so many seconds, spread at random inside of it.

    This is also how a history of counted starts is replayed.
    """
    if sum(counts) > _JOBS_AT_MOST:
        raise UsageError(f"{name} has more than {_JOBS_AT_MOST:,} jobs.", "Take a part of it: a day is enough to tell.")
    dice = random.Random(f"{name}:{seed}")
    arrivals: array[float] = array("d")
    for index, count in enumerate(counts):
        whole = int(count) + (dice.random() < count - int(count))
        arrivals.extend(sorted(interval * (index + dice.random()) for _ in range(whole)))
    services = exponential(dice, job_time, len(arrivals))
    return Load(name, arrivals, services, interval * len(counts))


def read_csv(path: Path, job_time: float, seed: int) -> Load:
    """A load out of a file: a column of times, or one of times and one of counts. A first row may name them.

    Times are numbers of seconds or ISO dates. Raises `UsageError` where the file is something else.
    """
    rows = _rows(path)
    times = [_time(row[0]) for row in rows]
    if any(at is None for at in times):
        raise UsageError(f"{path} has a row without a time.", "The first column must be seconds, or a date and time.")
    known = [at for at in times if at is not None]
    counts = [_number(row[1]) for row in rows if len(row) == 2]
    if len(counts) == len(rows) and all(count is not None and count >= 0 for count in counts):
        return _counted(path, known, [count for count in counts if count is not None], job_time, seed)
    return from_times(path.name, known, job_time, seed)


def _counted(path: Path, times: Sequence[float], counts: Sequence[float], job_time: float, seed: int) -> Load:
    steps = sorted(after - before for before, after in pairwise(times))
    if not steps or steps[0] <= 0:
        raise UsageError(f"{path} has counts, but its times do not rise.", "Sort the rows by time.")
    interval = steps[len(steps) // 2]
    # A column that counts minutes says nothing of seconds: by its name it is known.
    unit = {"minute": 60.0, "hour": 3600.0}.get(_heading(path), 1.0)
    return from_counts(path.name, counts, interval * unit, job_time, seed)


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: {error}", "Name a CSV file, or one of the loads.") from error
    if rows and _time(rows[0][0]) is None:
        rows = rows[1:]
    if not rows:
        raise UsageError(f"{path} has no rows.", "It needs a column of times, or one of times and one of counts.")
    return rows


def _heading(path: Path) -> str:
    with path.open(newline="") as file:
        return next(csv.reader(file))[0].strip().lower()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _time(text: str) -> float | None:
    number = _number(text)
    if number is not None:
        return number
    try:
        at = datetime.fromisoformat(_microseconds(text.strip()))
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _microseconds(text: str) -> str:
    """Python reads six digits of a second; some write seven."""
    whole, dot, digits = text.partition(".")
    return f"{whole}.{digits[:6]}" if dot and digits.isdigit() else text


def between(load: Load, since: float, until: float) -> Load:
    """A part of a load, beginning at 0 again."""
    kept = [index for index, at in enumerate(load.arrivals) if since <= at < until]
    return replace(
        load,
        arrivals=array("d", (load.arrivals[index] - since for index in kept)),
        services=array("d", (load.services[index] for index in kept)),
        seconds=until - since,
    )
