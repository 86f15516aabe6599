"""What there is to read, and how the numbers of the catalogue are read from it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from procq.intent import DesiredQueue
from procq.pace import Pace
from procq.plan.restarted import BY_ITSELF, Restarted
from procq.scaling.standing import Standing
from procq.state import Jobs, QueueState
from procq.telemetry.family import Point
from procq.telemetry.histogram import Buckets
from procq.telemetry.processes import Process
from procq.telemetry.tally import Counts, QueueCounts
from procq.telemetry.volume import Volume
from procq.views import About
from procq.worker.counting import BOUNDS

if TYPE_CHECKING:
    from procq.engine.view import StateView

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


def plain(value: float | Buckets) -> float | Buckets:
    """A number instead of yes or no."""
    return value if isinstance(value, Buckets) else +value


def of_all(number: Callable[[Everything], float | Buckets | None]) -> Read:
    """A number of everything; none where it is not known."""

    def read(everything: Everything) -> Iterator[Point]:
        value = number(everything)
        if value is not None:
            yield Point((), plain(value))

    return read


def of_each(number: Number) -> Read:
    """A number of each queue of which it is known."""

    def read(everything: Everything) -> Iterator[Point]:
        for queue in everything.queues:
            value = number(queue)
            if value is not None:
                yield Point((queue.label,), plain(value))

    return read


def by(label: str, numbers: Callable[[OneQueue], Iterable[tuple[str, float]]]) -> Read:
    """Numbers of each queue, told apart by one more label."""

    def read(everything: Everything) -> Iterator[Point]:
        for queue in everything.queues:
            for key, value in numbers(queue):
                yield Point((queue.label, (label, key)), value)

    return read


def information(everything: Everything) -> Iterator[Point]:
    """Which procq this is."""
    itself = everything.itself
    yield Point((("version", itself.version), ("project", itself.project)), 1)


def reloads(everything: Everything) -> Iterator[Point]:
    """Saved manifests, by what became of them."""
    for result in _RESULTS:
        yield Point((("result", result),), everything.itself.reloads.get(result, 0))


def of_own(number: Callable[[Process], float]) -> Read:
    """A number of each of procq's own processes."""

    def read(everything: Everything) -> Iterator[Point]:
        for process in everything.itself.processes:
            yield Point((("process", process.name),), number(process))

    return read


def decisions(everything: Everything) -> Iterator[Point]:
    """Decisions of scaling, by what decided and what limited it."""
    for queue in everything.queues:
        for (winner, limit), number in queue.counts.decisions.items():
            yield Point((queue.label, ("winner", winner), ("limit", limit.value)), number)


def processor(everything: Everything) -> Iterator[Point]:
    """Seconds of processor time by slot."""
    for worker, seconds in everything.counts.cpu.items():
        yield Point((("queue", worker.queue), ("slot", str(worker.slot))), seconds)


def memory(everything: Everything) -> Iterator[Point]:
    """Bytes of memory by slot."""
    for worker, load in everything.about.loads.items():
        yield Point((("queue", worker.queue), ("slot", str(worker.slot))), load.memory)


def dropped(queue: OneQueue) -> Iterator[tuple[str, float]]:
    """Bytes or lines that did not get to where they were to go, by that place."""
    if queue.volume is not None:
        yield from queue.volume.dropped.items()


def most(queue: OneQueue) -> int | None:
    """The most workers that the manifest allows."""
    if queue.desired is None:
        return None
    wanted = queue.desired.queue
    return wanted.workers if wanted.most is None else wanted.most


def busy_workers(queue: OneQueue) -> int | None:
    """Workers that say they are at a job; None where none says anything."""
    said = [report.busy for report in queue.observed.reports.values() if report.busy is not None]
    return sum(1 for busy in said if busy) if said else None


def jobs_at_hand(queue: OneQueue) -> int | None:
    """Jobs that workers say they are at; None where none says anything."""
    said = [report.busy for report in queue.observed.reports.values() if report.busy is not None]
    return sum(said) if said else None


def durations(queue: OneQueue) -> Buckets | None:
    """What jobs took."""
    took, seconds = queue.work.took, queue.work.seconds
    if seconds is None or not any(took):
        return None
    places = len(BOUNDS) + 1
    # A worker of another version may have more places: what is longer is longer than the last bound in any case.
    counts = (*took[: places - 1], *(0,) * (places - 1 - len(took)), sum(took[places - 1 :]))
    return Buckets(BOUNDS, counts, seconds)


def restarts(queue: OneQueue) -> Iterator[tuple[str, int]]:
    """Ends that any worker may come to have a 0 before the first one, so that this one counts as an increase."""
    for reason in Restarted:
        number = queue.restarts.get(reason)
        if number is not None or reason in BY_ITSELF:
            yield reason.value, number or 0


def failing(queue: OneQueue) -> bool | None:
    """Whether its source does not answer; None where it has none."""
    return bool(queue.standing.trouble) if queue.standing.source is not None else None
