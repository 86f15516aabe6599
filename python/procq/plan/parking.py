"""How a worker that says what it does is asked to leave: it takes no more jobs, finishes those it has, then goes. Pure.

For as long as a job takes it is waited for; `limits.job_timeout` is what ends a job that takes too long. It need not
answer before its job is done. One that does not answer though it is idle, that takes another job long after it was told
not to, or that does not speak, gets its stop signal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from procq.plan.crew import speaks
from procq.state import Report, Running, Starting

ANSWERS_WITHIN: Final = 5.0
"""Seconds after which an idle worker has said that it is parked, and a busy one begins no other job."""


@dataclass(frozen=True, slots=True)
class Go:
    """It may be asked to leave now: it is at no job, or nobody knows."""


@dataclass(frozen=True, slots=True)
class Tell:
    """It has to be told to take no more jobs."""


@dataclass(frozen=True, slots=True)
class Wait:
    """It finishes the jobs that it has; or has not answered, and is not waited for beyond `until`."""

    until: float | None


def farewell(state: Starting | Running, report: Report | None, now: float) -> Go | Tell | Wait:
    """The next step on the way of a worker that is to leave."""
    if not isinstance(state, Running) or not speaks(state, report):
        return Go()
    assert report is not None
    if state.parked is None:
        # What it has answered to the word before must not be taken for the answer to the next one.
        answers_by = (state.resumed or 0.0) + ANSWERS_WITHIN
        return Wait(answers_by) if report.parked and state.resumed is not None and now < answers_by else Tell()
    if report.parked:
        return Go() if report.idle else Wait(None)
    late = state.parked + ANSWERS_WITHIN
    if report.since is not None and not report.idle:
        return Go() if report.since > late else Wait(None)
    return Go() if late <= now else Wait(late)
