"""What the HTTP API says: immutable views, and their JSON.

The only module that knows how the API looks in JSON. Every document carries `version`; fields unknown to the reader are
ignored and absent ones take their default, so that an older side understands a newer one. Times are seconds: `at` is
since the Unix epoch, ages and delays are relative to the moment of the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, cast

VERSION = 1
"""Version of the documents. It grows when a field changes its meaning or goes away, not when one is added."""

MANIFEST_PROBLEM = "tag:procq,2026:manifest"
"""Type of the problem details that carry the errors of a manifest."""

T = TypeVar("T")
_NO_UNICODE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One slot of a queue. `state` is starting, running, stopping, unkillable, waiting, stopped, finished or failed.

    A worker that executes is starting until it is ready; then it is running.
    """

    id: str
    queue: str
    slot: int
    state: str
    pid: int | None = None
    generation: int | None = None
    age: float | None = None
    """Seconds in this state."""
    restarts: int = 0
    last_exit: str | None = None
    """How the generation before ended, in words."""
    retry_in: float | None = None
    """Seconds until it starts again, while it waits."""
    cpu: float | None = None
    """Cores that its process tree keeps busy, a mean since the last look; None while nothing runs."""
    memory: int | None = None
    """Resident bytes of its process tree, shared pages counted for each process."""
    jobs: int | None = None
    """Jobs it has done; None while nothing counts them."""
    wanted: bool | None = None
    """Whether one is to run in this slot: not while it is stopped by hand, or more than the queue should have."""
    ready: bool | None = None
    """Whether it is ready, while it executes."""
    detail: str | None = None
    """What else there is to know: why it is not ready, what it leaves for, when the next try comes."""
    doomed: str | None = None
    """Why another one has to take its place, where that is so and it still executes."""
    jobs_failed: int | None = None
    """Of its `jobs`, as it says."""
    says: str | None = None
    """What it last said of itself."""
    jobs_retried: int | None = None
    """Of its `jobs`, those that failed and are to be tried again."""
    job_seconds: float | None = None
    """What its `jobs` took, all together."""
    busy: int | None = None
    """How many jobs it is at."""
    job: str | None = None
    """One of them, by id and name: the one that has taken longest."""
    job_for: float | None = None
    """For how many seconds it has been at that."""
    paused: bool | None = None
    """Whether it takes no more jobs; None of one that cannot be told not to."""
    job_durations: tuple[int, ...] = ()
    """How many took up to 1, 2, 5, 10, 20, 50 … 10,000,000 milliseconds, and longer."""


@dataclass(frozen=True, slots=True)
class QueueView:
    """One queue. `state` is steady, growing, shrinking, replacing, crashing, failing, stopped or finished."""

    name: str
    command: str
    state: str
    running: int
    desired: int
    manifest_workers: int | None
    """What the manifest says; None while a removed queue is being emptied."""
    manifest_most: int | None = None
    """The upper end, where the manifest says a range."""
    override: int | None = None
    """What `procq scale` said instead."""
    starting: int = 0
    stopping: int = 0
    waiting: int = 0
    stopped: int = 0
    restarts: int = 0
    cpu: float | None = None
    """As of a worker, all of them together."""
    memory: int | None = None
    problem: str | None = None
    """What is wrong, in words."""
    log: str | None = None
    """The file that takes the output of its workers; `{queue}` and `{slot}` stand for theirs, `{{` for a brace."""
    log_format: str = "text"
    user: str | None = None
    """Who its workers run as, where that is said."""
    user_ids: tuple[int, ...] = ()
    """Numbers of that user, its group, and its further groups."""
    not_ready: int = 0
    """Workers that execute and are not ready; `starting` counts them too."""
    waits_for: tuple[str, ...] = ()
    """Queues before it that hold it back."""
    next_try: float | None = None
    """Seconds until the next worker that failed is started again."""
    jobs: int | None = None
    """As of its workers, those that are gone included."""
    jobs_failed: int | None = None
    jobs_retried: int | None = None
    job_seconds: float | None = None
    job_durations: tuple[int, ...] = ()
    """How many took up to 1, 2, 5, 10, 20, 50 … 10,000,000 milliseconds, and longer."""
    busy: int | None = None
    paused: bool = False
    """Whether somebody has paused it."""
    throughput: float | None = None
    """Jobs a second over the last minute, however they ended; None while nothing counts them."""
    busy_share: float | None = None
    """How much of the time of its workers jobs have taken in the last minute: 1.0 is all of it."""
    source: str | None = None
    """Where its length is read, without what is secret in it; None where it is not."""
    source_age: float | None = None
    """Seconds since the source has said what follows."""
    source_trouble: str | None = None
    """Why it says nothing at present."""
    jobs_waiting: float | None = None
    """Jobs that may begin, and have not."""
    jobs_delayed: int | None = None
    """Jobs that are to begin later."""
    oldest_wait: float | None = None
    """For how many seconds that job has been waiting which has waited longest, as far as it is known."""
    wait_objective: float | None = None
    """Within how many seconds 95 % of the jobs are to begin."""
    scaling: str | None = None
    """Why it is to have as many workers as it is."""
    short: str | None = None
    """Why it has fewer than it wants, where the machine does not bear more."""


@dataclass(frozen=True, slots=True)
class StatusView:
    """A whole project."""

    project: str
    manifest: str
    in_force_since: float | None
    """When the manifest in force was taken, seconds since the Unix epoch; None when that is not remembered."""
    up_for: float
    """Seconds since the keeper started."""
    keeper_pid: int
    control_plane_pid: int
    control_plane_starts: int
    shutting_down: bool = False
    procq_version: str | None = None
    """Version of the control plane that answers."""
    manifest_error: str | None = None
    """Why the file on disk is not in force."""
    tier: int | None = None
    """How workers are held together (docs/guarantees.md): 1 to 3; None of a procq that does not know."""
    queues: tuple[QueueView, ...] = field(default=(), metadata={"item": QueueView})
    workers: tuple[WorkerView, ...] = field(default=(), metadata={"item": WorkerView})


@dataclass(frozen=True, slots=True)
class QueueList:
    """All queues."""

    queues: tuple[QueueView, ...] = field(default=(), metadata={"item": QueueView})


@dataclass(frozen=True, slots=True)
class WorkerList:
    """Some workers."""

    workers: tuple[WorkerView, ...] = field(default=(), metadata={"item": WorkerView})


@dataclass(frozen=True, slots=True)
class ChangeView:
    """What would happen to one queue. `sign` is + new, ~ changed live, ± replaced, - removed."""

    sign: str
    queue: str
    what: str
    impact: str
    started: int = 0
    stopped: int = 0
    replaced: int = 0
    untouched: int = 0
    details: tuple[str, ...] = ()
    """Lines of a difference, each starting with `- ` or `+ `."""
    seconds_least: float = 0.0
    """How long it takes when every worker leaves at once."""
    seconds_most: float = 0.0
    """And when each uses up its grace period."""


@dataclass(frozen=True, slots=True)
class PlanView:
    """What saving, or taking, the file would do."""

    manifest: str
    changes: tuple[ChangeView, ...] = field(default=(), metadata={"item": ChangeView})
    unchanged: int = 0
    untouched: int = 0
    """Workers that keep running as they are."""
    seconds_least: float = 0.0
    seconds_most: float = 0.0
    notes: tuple[str, ...] = ()
    """What else is to know, a sentence each."""


@dataclass(frozen=True, slots=True)
class Affected:
    """Answer to a change of many: the ids of the workers it is about."""

    workers: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EventView:
    """Something that happened. `id` grows; it is what Last-Event-ID takes."""

    id: int
    at: float
    kind: str
    text: str
    queue: str | None = None
    worker: str | None = None
    jobs: int | None = None
    """At the end of a worker: how many jobs it had done, as far as it has said."""
    jobs_failed: int | None = None
    job: str | None = None
    """And the one that it was at, which is not finished."""


@dataclass(frozen=True, slots=True)
class TermView:
    """One number that a decision rests on."""

    name: str
    value: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class DecisionView:
    """How many workers a queue was to have, and why. `wanted` is what it would be without limits."""

    queue: str
    at: float
    before: int
    target: int
    wanted: int
    reason: str
    winner: str = ""
    limits: tuple[str, ...] = ()
    inputs: tuple[TermView, ...] = field(default=(), metadata={"item": TermView})
    terms: tuple[TermView, ...] = field(default=(), metadata={"item": TermView})


@dataclass(frozen=True, slots=True)
class DecisionList:
    """Decisions about one queue, the newest first; the first is the one that holds now."""

    decisions: tuple[DecisionView, ...] = field(default=(), metadata={"item": DecisionView})


@dataclass(frozen=True, slots=True)
class ProblemView:
    """Problem details as in RFC 9457; `hint` says what to do."""

    title: str
    status: int
    detail: str = ""
    hint: str | None = None
    type: str = "about:blank"


def to_data(view: object) -> dict[str, Any]:
    """The JSON object of a view, with the version of the documents."""
    return {"version": VERSION, **_plain(view)}


def to_json(view: object, *, indented: bool = False) -> str:
    """One line of JSON, or many for people (which takes several times as long).

    Bytes of file names that are no Unicode become replacement characters.
    """
    layout: dict[str, Any] = {"indent": 2} if indented else {"separators": (",", ":")}
    text = json.dumps(to_data(view), ensure_ascii=False, **layout)
    return text if text.isascii() else _NO_UNICODE.sub("\N{REPLACEMENT CHARACTER}", text)


def from_json(kind: type[T], text: str | bytes) -> T:
    """The inverse of `to_json`. Raises ValueError for what is not such a document."""
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError(f"expected an object with a {kind.__name__}, got {type(data).__name__}")
    return _build(kind, data)


def _plain(view: object) -> dict[str, Any]:
    if not is_dataclass(view):
        raise TypeError(f"not a view: {view!r}")
    return {each.name: _value(getattr(view, each.name)) for each in fields(view)}


def _value(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) if is_dataclass(item) else item for item in value]
    return value


def _build(kind: type[T], data: Mapping[str, Any]) -> T:
    arguments: dict[str, Any] = {}
    for each in fields(cast("Any", kind)):
        if each.name not in data:
            continue
        value = data[each.name]
        if isinstance(value, list):
            item = each.metadata.get("item")
            value = tuple(_build(item, entry) for entry in value) if item else tuple(value)
        arguments[each.name] = value
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ValueError(f"not a {kind.__name__}: {error}") from None
