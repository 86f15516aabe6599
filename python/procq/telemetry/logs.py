"""What procq remembers of what happened, as records of a log. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from procq.model import WorkerId
from procq.telemetry.spans import Context, Value
from procq.wire import EventView


class Severity(IntEnum):
    """As OpenTelemetry counts them."""

    UNSPECIFIED = 0
    INFO = 9
    WARN = 13
    ERROR = 17


_WARNINGS: Final = frozenset(
    (
        "condemned",
        "delayed",
        "exited",
        "gap",
        "killed",
        "log_trouble",
        "refused",
        "roll_out_halted",
        "stray",
        "trouble",
        "watch_failed",
    )
)
_ERRORS: Final = frozenset(("gave_up", "intent_lost", "reload_failed", "start_failed", "unkillable"))


@dataclass(frozen=True, slots=True)
class Record:
    """One of them. `at` is seconds since the epoch, and `observed` when it was read if that is another moment.

    `kind` names an event; it is empty of a mere line.
    """

    at: float
    kind: str
    severity: Severity
    text: str
    attributes: Mapping[str, Value]
    context: Context | None = None
    observed: float | None = None


def severity(kind: str) -> Severity:
    """How bad an event of this kind is."""
    if kind in _ERRORS:
        return Severity.ERROR
    return Severity.WARN if kind in _WARNINGS else Severity.INFO


def record(event: EventView, context: Context | None = None) -> Record:
    """The record of an event; `context` is the span that it belongs to."""
    found: dict[str, Value | None] = {
        "procq.event.id": event.id,
        "procq.queue": event.queue,
        "procq.worker": event.worker,
        "procq.jobs": event.jobs,
        "procq.jobs.failed": event.jobs_failed,
    }
    known = {name: value for name, value in found.items() if value is not None}
    return Record(event.at, event.kind, severity(event.kind), event.text, known, context)


def worker_of(event: EventView) -> WorkerId | None:
    """The worker that an event is about."""
    if event.worker is None or event.queue is None:
        return None
    slot = event.worker.removeprefix(f"{event.queue}.")
    return WorkerId(event.queue, int(slot)) if slot.isdecimal() else None
