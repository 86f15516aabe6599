"""What a queue has lived through, out of the journal, as a load. Pure.

Jobs that have come by a moment are those that were begun by then, and those that waited. Between two samples they are
taken to have come evenly. Sums that fall have begun anew, with another keeper; what came meanwhile nobody counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from procq.errors import UsageError
from procq.simulate.load import Load, from_counts

if TYPE_CHECKING:
    from procq.journal.record import Sample

INTERVAL: Final = 10.0
"""Seconds of one count: samples are as far apart, or farther."""
_LONGEST_GAP: Final = 120.0
"""Seconds without a sample after which procq is taken not to have run."""


def from_samples(name: str, samples: Sequence[Sample], job_time: float, seed: int) -> Load:
    """The load that `samples` show, in the order of time. Raises UsageError where they show none."""
    known = [(each.at, each.started + each.waiting) for each in samples if _counts(each)]  # type: ignore[operator]
    if len(known) < 2:
        raise UsageError(
            f"The journal has no history of {name} that could be replayed.",
            "It takes a source, and workers that say what they do, for some minutes at least.",
        )
    begin = known[0][0]
    counts = [0.0] * (int((known[-1][0] - begin) / INTERVAL) + 1)
    for (since, before), (until, after) in pairwise(known):
        if after > before and until - since <= _LONGEST_GAP:
            _spread(counts, since - begin, until - begin, after - before)
    if not sum(counts):
        raise UsageError(f"No job has come to {name} in that time.", "Look further back with --since.")
    return from_counts(name, counts, INTERVAL, job_time, seed)


def _counts(sample: Sample) -> bool:
    return sample.started is not None and sample.waiting is not None


def _spread(counts: list[float], since: float, until: float, jobs: float) -> None:
    """Adds `jobs` that came evenly from `since` until `until`."""
    first, last = int(since / INTERVAL), int(until / INTERVAL)
    for index in range(first, last + 1):
        inside = min(until, (index + 1) * INTERVAL) - max(since, index * INTERVAL)
        counts[index] += jobs * max(0.0, inside) / (until - since)
