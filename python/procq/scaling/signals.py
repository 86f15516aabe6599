"""What the policy of scaling is told, and what it answers: plain data, without a clock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Poll:
    """What the source said last.

    `at` is when it was read, in seconds on the engine's clock. `waiting` are jobs that may begin now, and those that
    are due before a worker started now could take them. `started` are all job starts that were known at `at`.
    `running` are the jobs with workers by the broker's account. `oldest` is for how many seconds the job has been
    waiting that has waited longest, where that is known. `soon` are those of `waiting` that are not due yet but will
    be, `within` seconds; None: within the boot of a worker and a tick.
    """

    at: float
    waiting: float
    started: int
    running: int | None = None
    oldest: float | None = None
    soon: float = 0.0
    within: float | None = None


@dataclass(frozen=True, slots=True)
class Signals:
    """All that one decision depends on, besides what the policy remembers.

    `poll`: None while the source has never answered; `stale`: it fails, so what it said last is old. `started`,
    `finished` and `job_seconds` only grow: jobs begun, jobs ended, and the seconds that those which ended took.
    `idle` and `busy` are ready workers; those that do not speak (`speaks` is false) are counted by the broker's
    account, or as busy. `jobs_at_work` is more than `busy` where a worker takes several jobs at a time, and `elapsed`
    is for how long those jobs have been going, added up. `starting` is, for each worker on its way, the seconds since
    it was asked for. `draining` ones cost, but work no more. `boots` is how long the boots took that were completed
    since the last decision. `refused`: the last target was cut by the ceiling or the budget. `least` and `most` are
    the limits in force. `concurrency` is how many jobs one worker takes at a time. `parkable` are those of the `busy`
    workers that can be told to take no more jobs, and so leave between two.
    """

    now: float
    poll: Poll | None
    stale: bool
    started: int
    finished: int
    job_seconds: float
    idle: int
    busy: int
    speaks: bool
    jobs_at_work: int
    elapsed: float
    starting: tuple[float, ...]
    draining: int
    boots: tuple[float, ...]
    refused: bool
    least: int
    most: int
    concurrency: float = 1.0
    parkable: int = 0

    @property
    def ready(self) -> int:
        """Workers that can take jobs now."""
        return self.idle + self.busy

    @property
    def live(self) -> int:
        """Workers that can take jobs now or after their boot; each counts once."""
        return self.idle + self.busy + len(self.starting)


@dataclass(frozen=True, slots=True)
class Term:
    """One number of a calculation, and what it is in words."""

    name: str
    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Decision:
    """How many workers there should be, and why.

    `target` is within the limits, `wanted` is before them. `reason` is one sentence, `terms` are the numbers behind
    it, `winner` names the term that decided, and `limits` says in words what has changed the result. At `wake_at` time
    alone may change the answer; None: only news does.
    """

    target: int
    wanted: int
    reason: str
    terms: tuple[Term, ...]
    winner: str
    limits: tuple[str, ...]
    wake_at: float | None = None
