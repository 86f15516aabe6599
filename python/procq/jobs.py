"""Numbers of jobs, added up. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import TypeVar

from procq.state import NO_JOBS, Jobs

N = TypeVar("N", int, float)


def total(parts: Iterable[Jobs]) -> Jobs:
    """All together. What none of them has said stays unsaid."""
    whole = NO_JOBS
    for part in parts:
        whole = Jobs(
            jobs=_sum(whole.jobs, part.jobs),
            failed=_sum(whole.failed, part.failed),
            retried=_sum(whole.retried, part.retried),
            seconds=_sum(whole.seconds, part.seconds),
            took=tuple(map(sum, zip_longest(whole.took, part.took, fillvalue=0))),
        )
    return whole


def _sum(one: N | None, other: N | None) -> N | None:
    return other if one is None else one if other is None else one + other
