"""How a queue that scales stands, for those who show it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """What its source has said last, `age` seconds ago, and what was made of it; None is what is not known.

    `oldest` is for how many seconds that job has been waiting which has waited longest, and `objective` how many are
    allowed. `source` and `trouble` are for people, without secrets.
    """

    waiting: float | None = None
    running: int | None = None
    delayed: int | None = None
    oldest: float | None = None
    age: float | None = None
    source: str | None = None
    trouble: str = ""
    objective: float | None = None
    reason: str = ""
    short: str = ""


NO_STANDING = Standing()
