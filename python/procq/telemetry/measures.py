"""Everything that procq measures, as values: read once when somebody asks, and never kept up to date. Pure.

Names are those of OpenTelemetry: its conventions where they have one (`process.*`, `messaging.*`), else `procq.*`;
units are UCUM. What is labelled is a queue or a slot of one, so that there are never more points than the manifest
says: no pids, no names of jobs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from procq.intent import desired_queue
from procq.jobs import total
from procq.pace import NO_PACE
from procq.scaling.standing import NO_STANDING
from procq.telemetry.catalogue import CATALOGUE
from procq.telemetry.family import Family, Kind, Point
from procq.telemetry.histogram import Buckets
from procq.telemetry.reads import Everything, Itself, OneQueue
from procq.telemetry.tally import NO_COUNTS, NOTHING, Counts
from procq.views import About, queue_names, worker_states

if TYPE_CHECKING:
    from procq.engine.view import StateView

__all__ = ["CATALOGUE", "Buckets", "Family", "Itself", "Kind", "Point", "families"]


def families(view: StateView, about: About, itself: Itself, counts: Counts = NOTHING) -> list[Family]:
    """All numbers at the moment of `view`. What nobody has said has no point, which is not the same as 0."""
    queues = tuple(_queue(view, about, counts, name) for name in queue_names(view))
    everything = Everything(view, about, itself, counts, queues)
    return [replace(each.family, points=tuple(each.read(everything))) for each in CATALOGUE]


def _queue(view: StateView, about: About, counts: Counts, name: str) -> OneQueue:
    observed = view.queue(name)
    return OneQueue(
        label=("queue", name),
        desired=desired_queue(view.intent, name) if view.intent else None,
        observed=observed,
        states=worker_states(view, name),
        work=total([observed.past, *(report.work for report in observed.reports.values())]),
        pace=about.paces.get(name, NO_PACE),
        standing=about.standings.get(name, NO_STANDING),
        counts=counts.queues.get(name, NO_COUNTS),
        volume=counts.volumes.get(name),
        restarts=view.restarts.get(name, {}),
    )
