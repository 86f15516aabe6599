"""What a source says of one queue. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reading:
    """The jobs of a queue at one moment; None is what this source cannot say.

    `waiting` may begin now, `running` are with workers, `delayed` are to begin later. `oldest` is for how many seconds
    that job has been waiting which has waited longest. A source of another kind of number says that as `waiting`.
    `soon` are those of `waiting` that are not due yet, but before a worker that is started now could take them.
    """

    waiting: float
    running: int | None = None
    delayed: int | None = None
    oldest: float | None = None
    soon: float = 0.0
