"""Which numbers there are: name, kind, unit, labels, and from what each of them is read. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from procq.plan.restarted import Restarted
from procq.telemetry import reads
from procq.telemetry.family import Family, Kind
from procq.telemetry.reads import Read
from procq.telemetry.tally import Cause
from procq.telemetry.volume import SINKS

STATES: Final = ("starting", "running", "stopping", "unkillable", "waiting", "stopped", "finished", "failed")
"""Those of workers, as `procq status` has them."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One family before it is read: the family without points, its labels, and how it is read."""

    family: Family
    labels: tuple[str, ...]
    read: Read = field(repr=False)


def _gauge(name: str, unit: str, text: str, read: Read, *labels: str) -> Measure:
    return Measure(Family(name, Kind.GAUGE, unit, text), labels, read)


def _counter(name: str, unit: str, text: str, read: Read, *labels: str) -> Measure:
    return Measure(Family(name, Kind.COUNTER, unit, text), labels, read)


def _histogram(name: str, text: str, read: Read, *labels: str) -> Measure:
    return Measure(Family(name, Kind.HISTOGRAM, "s", text), labels, read)


_OF_PROCQ: Final = (
    _gauge(
        "procq.up",
        "",
        "Whether the control plane knows all workers: 1, or 0 while it is not attached to the keeper.",
        reads.of_all(lambda all: all.view.complete),
    ),
    _gauge("procq.info", "", "Always 1; the labels say what runs.", reads.information, "version", "project"),
    _gauge("procq.uptime", "s", "Since procq was started.", reads.of_all(lambda all: all.itself.up_for)),
    _gauge(
        "procq.shutting_down",
        "",
        "Whether everything is being stopped.",
        reads.of_all(lambda all: all.view.observed.shutting_down),
    ),
    _counter(
        "procq.control_plane.starts",
        "{start}",
        "Control planes since procq was started: more than one is an upgrade, or one that died.",
        reads.of_all(lambda all: all.view.epoch),
    ),
    _histogram(
        "procq.control_plane.lag",
        "From the start or end of a worker until the control plane has acted on it.",
        reads.of_all(lambda all: all.counts.lag),
    ),
    _gauge(
        "procq.manifest.valid",
        "",
        "Whether the manifest on disk is the one in force, and not one with errors.",
        reads.of_all(lambda all: all.itself.manifest_valid),
    ),
    _counter(
        "procq.manifest.reloads",
        "{reload}",
        "Saved manifests, by what became of them: ok, refused.",
        reads.reloads,
        "result",
    ),
)
_OF_OWN_PROCESSES: Final = (
    _counter(
        "procq.process.cpu.time",
        "s",
        "Processor time of procq's own processes, each since it began.",
        reads.of_own(lambda own: own.seconds),
        "process",
    ),
    _gauge(
        "procq.process.memory.usage", "By", "Their resident memory.", reads.of_own(lambda own: own.memory), "process"
    ),
    _gauge(
        "procq.process.file_descriptors",
        "{file_descriptor}",
        "What they have open.",
        reads.of_own(lambda own: own.descriptors),
        "process",
    ),
    _gauge("procq.process.threads", "{thread}", "Their threads.", reads.of_own(lambda own: own.threads), "process"),
    _gauge("procq.process.uptime", "s", "Since each of them began.", reads.of_own(lambda own: own.age), "process"),
)
_OF_WORKERS: Final = (
    _gauge(
        "procq.queue.workers",
        "{worker}",
        f"Workers by state: {', '.join(STATES)}.",
        reads.by("state", lambda queue: ((state, queue.states.get(state, 0)) for state in STATES)),
        "queue",
        "state",
    ),
    _gauge(
        "procq.queue.workers.desired",
        "{worker}",
        "Workers that the queue wants now.",
        reads.of_each(lambda queue: queue.desired.workers if queue.desired else 0),
        "queue",
    ),
    _gauge(
        "procq.queue.workers.min",
        "{worker}",
        "The least that the manifest allows.",
        reads.of_each(lambda queue: queue.desired.queue.workers if queue.desired else None),
        "queue",
    ),
    _gauge(
        "procq.queue.workers.max", "{worker}", "The most that the manifest allows.", reads.of_each(reads.most), "queue"
    ),
    _gauge(
        "procq.queue.workers.busy",
        "{worker}",
        "Workers that say they are at a job.",
        reads.of_each(reads.busy_workers),
        "queue",
    ),
    _gauge(
        "procq.queue.busy",
        "1",
        "How much of the time of workers that speak jobs took in the last minute.",
        reads.of_each(lambda queue: queue.pace.busy_share),
        "queue",
    ),
    _gauge(
        "procq.queue.paused",
        "",
        "Whether somebody has paused it.",
        reads.of_each(lambda queue: queue.desired.adjustment.paused if queue.desired else None),
        "queue",
    ),
    _counter(
        "procq.queue.restarts",
        "{restart}",
        f"Workers started in the place of one that has ended, by reason: {', '.join(Restarted)}.",
        reads.by("reason", reads.restarts),
        "queue",
        "reason",
    ),
    _counter(
        "procq.queue.exits",
        "{exit}",
        f"Workers that ended, since this control plane began, by cause: {', '.join(Cause)}.",
        reads.by("cause", lambda queue: ((cause.value, number) for cause, number in queue.counts.exits.items())),
        "queue",
        "cause",
    ),
    _histogram(
        "procq.queue.spawn.duration",
        "From the request for a worker until its program executes.",
        reads.of_each(lambda queue: queue.counts.spawns),
        "queue",
    ),
    _histogram(
        "procq.queue.boot.duration",
        "From the execution of a worker until it is ready, where it says or shows that it is.",
        reads.of_each(lambda queue: queue.counts.boots),
        "queue",
    ),
    _counter(
        "process.cpu.time",
        "s",
        "Processor time of the process trees in a slot, since this control plane was asked first.",
        reads.processor,
        "queue",
        "slot",
    ),
    _gauge("process.memory.usage", "By", "Resident memory of a worker's process tree.", reads.memory, "queue", "slot"),
)
_OF_JOBS: Final = (
    _gauge(
        "procq.queue.jobs.waiting",
        "{job}",
        "Jobs that could begin now, by its source.",
        reads.of_each(lambda queue: queue.standing.waiting),
        "queue",
    ),
    _gauge(
        "procq.queue.jobs.delayed",
        "{job}",
        "Jobs that are to begin later, by its source.",
        reads.of_each(lambda queue: queue.standing.delayed),
        "queue",
    ),
    _gauge(
        "procq.queue.jobs.running",
        "{job}",
        "Jobs that workers say they are at.",
        reads.of_each(reads.jobs_at_hand),
        "queue",
    ),
    _gauge(
        "procq.queue.wait.oldest",
        "s",
        "For how long that job has been waiting which has waited longest.",
        reads.of_each(lambda queue: queue.standing.oldest),
        "queue",
    ),
    _gauge(
        "procq.queue.wait.objective",
        "s",
        "For how long a job may wait, as the manifest says.",
        reads.of_each(lambda queue: queue.standing.objective),
        "queue",
    ),
    _counter(
        "procq.queue.jobs.finished",
        "{job}",
        "Jobs that came to an end, however, by all workers since procq was started.",
        reads.of_each(lambda queue: queue.work.jobs),
        "queue",
    ),
    _counter(
        "procq.queue.jobs.failed",
        "{job}",
        "Those of them that failed for good.",
        reads.of_each(lambda queue: queue.work.failed),
        "queue",
    ),
    _counter(
        "procq.queue.jobs.retried",
        "{job}",
        "Those of them that are to be tried again.",
        reads.of_each(lambda queue: queue.work.retried),
        "queue",
    ),
    _histogram("messaging.process.duration", "What jobs took.", reads.of_each(reads.durations), "queue"),
)
_OF_OUTPUT: Final = (
    _counter(
        "procq.queue.output.bytes",
        "By",
        "What its workers have written to their outputs, since procq was started.",
        reads.of_each(lambda queue: queue.volume.bytes if queue.volume else None),
        "queue",
    ),
    _counter(
        "procq.queue.output.lines",
        "{line}",
        "Lines of that.",
        reads.of_each(lambda queue: queue.volume.lines if queue.volume else None),
        "queue",
    ),
    _counter(
        "procq.queue.output.dropped",
        "By",
        f"What of it somebody did not get, by who: {', '.join(SINKS)}.",
        reads.by("sink", reads.dropped),
        "queue",
        "sink",
    ),
)
_OF_SCALING: Final = (
    _gauge(
        "procq.queue.source.age",
        "s",
        "Since its source has answered last.",
        reads.of_each(lambda queue: queue.standing.age),
        "queue",
    ),
    _gauge(
        "procq.queue.source.failing", "", "Whether its source does not answer.", reads.of_each(reads.failing), "queue"
    ),
    _counter(
        "procq.queue.scaling.decisions",
        "{decision}",
        "Decisions about the number of workers, about one a second, by what decided and what limited it.",
        reads.decisions,
        "queue",
        "winner",
        "limit",
    ),
)
CATALOGUE: Final = (*_OF_PROCQ, *_OF_OWN_PROCESSES, *_OF_WORKERS, *_OF_JOBS, *_OF_OUTPUT, *_OF_SCALING)
"""Everything that is measured, in the order in which it is told."""
