"""What workers do in a queue that is paused: those that are there, and those that start meanwhile."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from tests.adapters.trial import Crew, wait

RESTS = 2.0  # seconds: longer than any look of a worker
JOBS = 60
LATER = 5


def ended(crew: Crew) -> Counter[int]:
    """The attempts that are over, whichever way."""
    return crew.entries("done") + crew.entries("failed") + crew.entries("again")


def pause_and_resume(crew: Crew, send: Callable[[int, int], object]) -> None:
    """One worker is paused between jobs, another one starts and rests from the start; then both work."""
    send(1, JOBS)
    crew.write(1, 1)
    crew.procq("up", "-d", "--wait")
    wait("the first jobs", lambda: crew.finished() >= LATER, crew)
    crew.procq("pause", "work")
    begun = crew.entries("began")
    assert begun == ended(crew)
    assert len(begun) < JOBS
    crew.procq("scale", "work=2")
    wait("two workers", lambda: crew.running(2), crew)
    send(JOBS + 1, JOBS + LATER)
    time.sleep(RESTS)
    assert crew.entries("began") == begun
    crew.procq("resume", "work")
    wait("the last job", lambda: crew.finished() == JOBS + LATER, crew)
    wait("idle workers", lambda: crew.queue().busy == 0, crew)
    assert crew.entries("began") == ended(crew)
    assert crew.queue().jobs == ended(crew).total()
