"""Which numbers there are: name, kind, unit, labels, and from what each of them is read. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from procq.intent import DesiredQueue
from procq.pace import Pace
from procq.plan.restarted import BY_ITSELF, Restarted
from procq.scaling.standing import Standing
from procq.state import Jobs, QueueState
from procq.telemetry.family import Family, Kind, Point
from procq.telemetry.histogram import Buckets
from procq.telemetry.processes import Process
from procq.telemetry.tally import Cause, Counts, QueueCounts
from procq.telemetry.volume import SINKS, Volume
from procq.views import About
from procq.worker.counting import BOUNDS

if TYPE_CHECKING:
    from procq.engine.view import StateView

STATES: Final = ("starting", "running", "stopping", "unkillable", "waiting", "stopped", "finished", "failed")
"""Those of workers, as `procq status` has them."""
_RESULTS: Final = ("ok", "refused")


@dataclass(frozen=True, slots=True)
class Itself:
    """About procq and not its queues. `up_for` is seconds; `reloads` counts saved manifests by what became of them."""

    version: str
    project: str
    up_for: float
    manifest_valid: bool = True
    reloads: Mapping[str, int] = field(default_factory=dict)
    processes: tuple[Process, ...] = ()


@dataclass(frozen=True, slots=True)
class OneQueue:
    """What there is to read of one queue."""

    label: tuple[str, str]
    desired: DesiredQueue | None
    observed: QueueState
    states: Mapping[str, int]
    work: Jobs
    pace: Pace
    standing: Standing
    counts: QueueCounts
    volume: Volume | None
    restarts: Mapping[Restarted, int]


@dataclass(frozen=True, slots=True)
class Everything:
    """What there is to read altogether."""

    view: StateView
    about: About
    itself: Itself
    counts: Counts
    queues: tuple[OneQueue, ...]


Read = Callable[[Everything], Iterable[Point]]
Number = Callable[[OneQueue], float | Buckets | None]


@dataclass(frozen=True, slots=True)
class Measure:
    """One family before it is read: the family without points, its labels, and how it is read."""

    family: Family
    labels: tuple[str, ...]
    read: Read = field(repr=False)


# --- how numbers are read -------------------------------------------------------------------------------------------


def _plain(value: float | Buckets) -> float | Buckets:
    """A number instead of yes or no."""
    return value if isinstance(value, Buckets) else +value


def _of_all(number: Callable[[Everything], float | Buckets | None]) -> Read:
    def read(everything: Everything) -> Iterator[Point]:
        value = number(everything)
        if value is not None:
            yield Point((), _plain(value))

    return read


def _of_each(number: Number) -> Read:
    def read(everything: Everything) -> Iterator[Point]:
        for queue in everything.queues:
            value = number(queue)
            if value is not None:
                yield Point((queue.label,), _plain(value))

    return read


def _by(label: str, numbers: Callable[[OneQueue], Iterable[tuple[str, float]]]) -> Read:
    def read(everything: Everything) -> Iterator[Point]:
        for queue in everything.queues:
            for key, value in numbers(queue):
                yield Point((queue.label, (label, key)), value)

    return read


def _information(everything: Everything) -> Iterator[Point]:
    itself = everything.itself
    yield Point((("version", itself.version), ("project", itself.project)), 1)


def _reloads(everything: Everything) -> Iterator[Point]:
    for result in _RESULTS:
        yield Point((("result", result),), everything.itself.reloads.get(result, 0))


def _of_own(number: Callable[[Process], float]) -> Read:
    def read(everything: Everything) -> Iterator[Point]:
        for process in everything.itself.processes:
            yield Point((("process", process.name),), number(process))

    return read


def _decisions(everything: Everything) -> Iterator[Point]:
    for queue in everything.queues:
        for (winner, limit), number in queue.counts.decisions.items():
            yield Point((queue.label, ("winner", winner), ("limit", limit.value)), number)


def _processor(everything: Everything) -> Iterator[Point]:
    for worker, seconds in everything.counts.cpu.items():
        yield Point((("queue", worker.queue), ("slot", str(worker.slot))), seconds)


def _memory(everything: Everything) -> Iterator[Point]:
    for worker, load in everything.about.loads.items():
        yield Point((("queue", worker.queue), ("slot", str(worker.slot))), load.memory)


def _dropped(queue: OneQueue) -> Iterator[tuple[str, float]]:
    if queue.volume is not None:
        yield from queue.volume.dropped.items()


def _most(queue: OneQueue) -> int | None:
    if queue.desired is None:
        return None
    wanted = queue.desired.queue
    return wanted.workers if wanted.most is None else wanted.most


def _busy_workers(queue: OneQueue) -> int | None:
    said = [report.busy for report in queue.observed.reports.values() if report.busy is not None]
    return sum(1 for busy in said if busy) if said else None


def _jobs_at_hand(queue: OneQueue) -> int | None:
    said = [report.busy for report in queue.observed.reports.values() if report.busy is not None]
    return sum(said) if said else None


def _durations(queue: OneQueue) -> Buckets | None:
    took, seconds = queue.work.took, queue.work.seconds
    if seconds is None or not any(took):
        return None
    places = len(BOUNDS) + 1
    # A worker of another version may have more places: what is longer is longer than the last bound in any case.
    counts = (*took[: places - 1], *(0,) * (places - 1 - len(took)), sum(took[places - 1 :]))
    return Buckets(BOUNDS, counts, seconds)


def _restarts(queue: OneQueue) -> Iterator[tuple[str, int]]:
    """Ends that any worker may come to have a 0 before the first one, so that this one counts as an increase."""
    for reason in Restarted:
        number = queue.restarts.get(reason)
        if number is not None or reason in BY_ITSELF:
            yield reason.value, number or 0


def _failing(queue: OneQueue) -> bool | None:
    return bool(queue.standing.trouble) if queue.standing.source is not None else None


# --- what there is --------------------------------------------------------------------------------------------------


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
        _of_all(lambda all: all.view.complete),
    ),
    _gauge("procq.info", "", "Always 1; the labels say what runs.", _information, "version", "project"),
    _gauge("procq.uptime", "s", "Since procq was started.", _of_all(lambda all: all.itself.up_for)),
    _gauge(
        "procq.shutting_down",
        "",
        "Whether everything is being stopped.",
        _of_all(lambda all: all.view.observed.shutting_down),
    ),
    _counter(
        "procq.control_plane.starts",
        "{start}",
        "Control planes since procq was started: more than one is an upgrade, or one that died.",
        _of_all(lambda all: all.view.epoch),
    ),
    _histogram(
        "procq.control_plane.lag",
        "From the start or end of a worker until the control plane has acted on it.",
        _of_all(lambda all: all.counts.lag),
    ),
    _gauge(
        "procq.manifest.valid",
        "",
        "Whether the manifest on disk is the one in force, and not one with errors.",
        _of_all(lambda all: all.itself.manifest_valid),
    ),
    _counter(
        "procq.manifest.reloads",
        "{reload}",
        "Saved manifests, by what became of them: ok, refused.",
        _reloads,
        "result",
    ),
)
_OF_OWN_PROCESSES: Final = (
    _counter(
        "procq.process.cpu.time",
        "s",
        "Processor time of procq's own processes, each since it began.",
        _of_own(lambda own: own.seconds),
        "process",
    ),
    _gauge("procq.process.memory.usage", "By", "Their resident memory.", _of_own(lambda own: own.memory), "process"),
    _gauge(
        "procq.process.file_descriptors",
        "{file_descriptor}",
        "What they have open.",
        _of_own(lambda own: own.descriptors),
        "process",
    ),
    _gauge("procq.process.threads", "{thread}", "Their threads.", _of_own(lambda own: own.threads), "process"),
    _gauge("procq.process.uptime", "s", "Since each of them began.", _of_own(lambda own: own.age), "process"),
)
_OF_WORKERS: Final = (
    _gauge(
        "procq.queue.workers",
        "{worker}",
        f"Workers by state: {', '.join(STATES)}.",
        _by("state", lambda queue: ((state, queue.states.get(state, 0)) for state in STATES)),
        "queue",
        "state",
    ),
    _gauge(
        "procq.queue.workers.desired",
        "{worker}",
        "Workers that the queue wants now.",
        _of_each(lambda queue: queue.desired.workers if queue.desired else 0),
        "queue",
    ),
    _gauge(
        "procq.queue.workers.min",
        "{worker}",
        "The least that the manifest allows.",
        _of_each(lambda queue: queue.desired.queue.workers if queue.desired else None),
        "queue",
    ),
    _gauge("procq.queue.workers.max", "{worker}", "The most that the manifest allows.", _of_each(_most), "queue"),
    _gauge(
        "procq.queue.workers.busy",
        "{worker}",
        "Workers that say they are at a job.",
        _of_each(_busy_workers),
        "queue",
    ),
    _gauge(
        "procq.queue.busy",
        "1",
        "How much of the time of workers that speak jobs took in the last minute.",
        _of_each(lambda queue: queue.pace.busy_share),
        "queue",
    ),
    _gauge(
        "procq.queue.paused",
        "",
        "Whether somebody has paused it.",
        _of_each(lambda queue: queue.desired.adjustment.paused if queue.desired else None),
        "queue",
    ),
    _counter(
        "procq.queue.restarts",
        "{restart}",
        f"Workers started in the place of one that has ended, by reason: {', '.join(Restarted)}.",
        _by("reason", _restarts),
        "queue",
        "reason",
    ),
    _counter(
        "procq.queue.exits",
        "{exit}",
        f"Workers that ended, since this control plane began, by cause: {', '.join(Cause)}.",
        _by("cause", lambda queue: ((cause.value, number) for cause, number in queue.counts.exits.items())),
        "queue",
        "cause",
    ),
    _histogram(
        "procq.queue.spawn.duration",
        "From the request for a worker until its program executes.",
        _of_each(lambda queue: queue.counts.spawns),
        "queue",
    ),
    _histogram(
        "procq.queue.boot.duration",
        "From the execution of a worker until it is ready, where it says or shows that it is.",
        _of_each(lambda queue: queue.counts.boots),
        "queue",
    ),
    _counter(
        "process.cpu.time",
        "s",
        "Processor time of the process trees in a slot, since this control plane was asked first.",
        _processor,
        "queue",
        "slot",
    ),
    _gauge("process.memory.usage", "By", "Resident memory of a worker's process tree.", _memory, "queue", "slot"),
)
_OF_JOBS: Final = (
    _gauge(
        "procq.queue.jobs.waiting",
        "{job}",
        "Jobs that could begin now, by its source.",
        _of_each(lambda queue: queue.standing.waiting),
        "queue",
    ),
    _gauge(
        "procq.queue.jobs.delayed",
        "{job}",
        "Jobs that are to begin later, by its source.",
        _of_each(lambda queue: queue.standing.delayed),
        "queue",
    ),
    _gauge("procq.queue.jobs.running", "{job}", "Jobs that workers say they are at.", _of_each(_jobs_at_hand), "queue"),
    _gauge(
        "procq.queue.wait.oldest",
        "s",
        "For how long that job has been waiting which has waited longest.",
        _of_each(lambda queue: queue.standing.oldest),
        "queue",
    ),
    _gauge(
        "procq.queue.wait.objective",
        "s",
        "For how long a job may wait, as the manifest says.",
        _of_each(lambda queue: queue.standing.objective),
        "queue",
    ),
    _counter(
        "procq.queue.jobs.finished",
        "{job}",
        "Jobs that came to an end, however, by all workers since procq was started.",
        _of_each(lambda queue: queue.work.jobs),
        "queue",
    ),
    _counter(
        "procq.queue.jobs.failed",
        "{job}",
        "Those of them that failed for good.",
        _of_each(lambda queue: queue.work.failed),
        "queue",
    ),
    _counter(
        "procq.queue.jobs.retried",
        "{job}",
        "Those of them that are to be tried again.",
        _of_each(lambda queue: queue.work.retried),
        "queue",
    ),
    _histogram("messaging.process.duration", "What jobs took.", _of_each(_durations), "queue"),
)
_OF_OUTPUT: Final = (
    _counter(
        "procq.queue.output.bytes",
        "By",
        "What its workers have written to their outputs, since procq was started.",
        _of_each(lambda queue: queue.volume.bytes if queue.volume else None),
        "queue",
    ),
    _counter(
        "procq.queue.output.lines",
        "{line}",
        "Lines of that.",
        _of_each(lambda queue: queue.volume.lines if queue.volume else None),
        "queue",
    ),
    _counter(
        "procq.queue.output.dropped",
        "By",
        f"What of it somebody did not get, by who: {', '.join(SINKS)}.",
        _by("sink", _dropped),
        "queue",
        "sink",
    ),
)
_OF_SCALING: Final = (
    _gauge(
        "procq.queue.source.age",
        "s",
        "Since its source has answered last.",
        _of_each(lambda queue: queue.standing.age),
        "queue",
    ),
    _gauge("procq.queue.source.failing", "", "Whether its source does not answer.", _of_each(_failing), "queue"),
    _counter(
        "procq.queue.scaling.decisions",
        "{decision}",
        "Decisions about the number of workers, about one a second, by what decided and what limited it.",
        _decisions,
        "queue",
        "winner",
        "limit",
    ),
)
CATALOGUE: Final = (*_OF_PROCQ, *_OF_OWN_PROCESSES, *_OF_WORKERS, *_OF_JOBS, *_OF_OUTPUT, *_OF_SCALING)
"""Everything that is measured, in the order in which it is told."""
