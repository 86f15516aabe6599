"""How many of a queue's workers that failed again and again are tried at a time. Pure.

One that fails for the first time is started again at once. What has failed twice in a row is a *suspect*: a program
that cannot work, or a service that is away, is tried with one worker, and as more of them work, with more.

Where no worker works at all the queue is *failing*: what it wants is nothing that others should make room for.
"""

from __future__ import annotations

from procq.endings import HEALTHY_AFTER, SpawnFailure
from procq.intent import DesiredQueue
from procq.plan.crew import places
from procq.plan.readiness import since_ready, unready
from procq.state import CALM, Backoff, Ended, QueueState, Running, Starting, Streak


def is_suspect(streak: Streak) -> bool:
    """Whether a slot has failed more than once in a row."""
    return streak.crashes + streak.misses >= 2


def trial(desired: DesiredQueue, observed: QueueState, now: float) -> tuple[int, int, float | None]:
    """How many suspects are being tried, how many workers work, and when time alone shows that one more does.

    A worker works when it has been ready for the pause of a roll-out; a suspect is tried until then. One of another
    program of which nobody knows any more what it was to promise is neither: it would be tried for ever.
    """
    trying, healthy, shows_at = 0, 0, None
    for slot in places(desired, observed):
        state = observed.workers.get(slot)
        if not isinstance(state, Starting | Running):
            continue
        ready = since_ready(desired, state) if isinstance(state, Running) else None
        shows = None if ready is None else ready + desired.queue.update.pause
        if shows is not None and shows <= now:
            healthy += 1
        elif is_suspect(observed.streaks.get(slot, CALM)) and (shows is not None or unready(desired, state)):
            trying += 1
            if shows is not None:
                shows_at = shows if shows_at is None else min(shows_at, shows)
    return trying, healthy, shows_at


def failing(desired: DesiredQueue, observed: QueueState, now: float) -> bool:
    """Whether workers have failed again and again, or cannot be executed, and none has worked for long since then."""
    suspect = False
    for slot in places(desired, observed):
        state = observed.workers.get(slot)
        if isinstance(state, Running):
            ready = since_ready(desired, state)
            if ready is not None and now - ready >= HEALTHY_AFTER:
                return False
        impossible = isinstance(state, Ended | Backoff) and isinstance(state.end.outcome, SpawnFailure)
        suspect = suspect or impossible or (state is not None and is_suspect(observed.streaks.get(slot, CALM)))
    return suspect
