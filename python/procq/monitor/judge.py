"""From looks at what a worker uses to the limit that it has reached. Pure: time is a parameter."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from procq.endings import Doom
from procq.meter import Used
from procq.model import Limits
from procq.plan.wording import duration, size
from procq.state import Report

LOOKS: Final = 2
"""So many looks in a row must find more memory, or more processes, than allowed: what comes and goes is no leak."""
_MIB: Final = 1 << 20
CPU_WINDOW: Final = 60.0
"""Seconds over which processor time is looked at."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The limit that was reached, and the numbers."""

    why: Doom
    detail: str


class Judge:
    """Judges one generation of a worker. `window` is in seconds."""

    def __init__(self, looks: int = LOOKS, window: float = CPU_WINDOW) -> None:
        self._looks = looks
        self._window = window
        self._memory = 0
        self._pids = 0
        self._last: float | None = None
        self._total = 0.0
        self._totals: deque[tuple[float, float]] = deque()

    def look(self, used: Used, limits: Limits, now: float) -> Verdict | None:
        """Takes a look at what its tree uses, and says what follows from it and those before it."""
        seconds, memory, processes, threads = used
        if not processes:
            return None
        self._memory = self._memory + 1 if limits.memory is not None and memory > limits.memory else 0
        self._pids = self._pids + 1 if limits.pids is not None and threads > limits.pids else 0
        rate = self._rate(seconds, now)
        if limits.memory is not None and self._memory >= self._looks:
            return Verdict(Doom.MEMORY, f"{memory / _MIB:.1f}MiB of memory, {size(limits.memory)} allowed")
        if limits.pids is not None and self._pids >= self._looks:
            return Verdict(Doom.PIDS, f"{threads} processes and threads, {limits.pids} allowed")
        if limits.cpu is not None and rate is not None and rate > limits.cpu:
            over = duration(self._window)
            return Verdict(Doom.CPU, f"{rate:.0%} of a processor over {over}, {limits.cpu:.0%} allowed")
        return None

    def _rate(self, seconds: float, now: float) -> float | None:
        """Cores over the window; None before it is full."""
        # A process that ended without being waited for takes its time along: never below nothing.
        self._total += max(0.0, seconds - (seconds if self._last is None else self._last))
        self._last = seconds
        totals = self._totals
        totals.append((now, self._total))
        while len(totals) > 1 and now - totals[1][0] >= self._window:
            totals.popleft()
        at, before = totals[0]
        return (self._total - before) / (now - at) if now - at >= self._window else None


def judge_report(report: Report, limits: Limits, now: float) -> Verdict | None:
    """What follows from what a worker says of its jobs."""
    late = late_at(report, limits)
    if late is not None and now >= late and limits.job_timeout is not None:
        job = f"job {report.job}" if report.job else "a job"
        return Verdict(Doom.JOB_TIMEOUT, f"{job} has taken more than {duration(limits.job_timeout)}")
    if limits.jobs is not None and (report.work.jobs or 0) >= limits.jobs:
        return Verdict(Doom.JOBS, f"{report.work.jobs} jobs done, {limits.jobs} allowed")
    return None


def late_at(report: Report, limits: Limits) -> float | None:
    """When the job that a worker is at has taken too long; None where there is none, or it may take its time."""
    if limits.job_timeout is None or report.since is None:
        return None
    return report.since + limits.job_timeout
