"""How the number of workers follows the load, as a manifest asks for it: a part of the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Source:
    """Where the length of a queue is read. `url` is as a person wrote it, and may hold a password.

    `every` is how many seconds lie between two looks; None: as seems best.
    """

    url: str = field(repr=False)
    every: float | None = None


class Style(StrEnum):
    """How readily workers that are idle are kept: what it costs, and how soon the next job begins."""

    LAZY = "lazy"
    BALANCED = "balanced"
    EAGER = "eager"


@dataclass(frozen=True, slots=True)
class ScaleRule:
    """What the number of workers of a queue is to achieve; with several objectives the one that wants most decides.

    `wait`: 95 % of the jobs begin within so many seconds. `backlog`: so many waiting jobs for each worker.
    `utilization`: workers are busy for so much of their time (0.7 is 70 %). `metric`: one worker for so much of what
    the source says, whatever it counts. `job_time` is what a job takes, in seconds, until workers have shown it.
    `fallback` is how many workers there are while the source has said nothing for long; None: as many as there were.
    """

    wait: float | None = None
    backlog: float | None = None
    utilization: float | None = None
    metric: float | None = None
    style: Style = Style.BALANCED
    job_time: float | None = None
    fallback: int | None = None


@dataclass(frozen=True, slots=True)
class Period:
    """From each time that `cron` names, for `seconds`, at least `least` and at most `most` workers; None: no matter.

    Times are of `timezone`, a name of the IANA database.
    """

    cron: str
    seconds: float
    timezone: str
    least: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What a queue may claim of a machine that cannot give all what they want.

    A higher `priority` is served first; of the same priority each gets by its `weight`. A worker takes `memory` bytes
    and `cpus` cores; None: what its workers have taken so far.
    """

    priority: int = 0
    weight: float = 1.0
    memory: int | None = None
    cpus: float | None = None


@dataclass(frozen=True, slots=True)
class Guard:
    """When the machine is under pressure. Shares of time are of the last ten seconds, as the kernel's PSI tells.

    Amber, where nothing more is started: processes wait for a processor for more than `cpu` of the time, or less than
    `memory` of the memory is available. Red, where workers are taken away: all of them wait for memory for more than
    `stalled` of the time, or less than half of `memory` is available.
    """

    cpu: float = 0.4
    memory: float = 0.1
    stalled: float = 0.05
