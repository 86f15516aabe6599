"""How many extra workers the machine bears while others are replaced. Pure."""

from __future__ import annotations

from procq.intent import DesiredQueue, Intent, wanted_in_all
from procq.plan.crew import places
from procq.state import Dead, QueueState


def spare(intent: Intent) -> int | None:
    """Workers that the budget leaves beside all that are wanted; None without a budget."""
    budget = intent.manifest.budget
    return None if budget is None else budget - wanted_in_all(intent)


def above(desired: DesiredQueue | None, observed: QueueState) -> int:
    """Workers of a queue that live, and are more than it wants."""
    wanted = () if desired is None else places(desired, observed)
    if isinstance(wanted, range) and max(observed.workers, default=0) <= len(wanted):
        return 0
    return sum(slot not in wanted and not isinstance(state, Dead) for slot, state in observed.workers.items())
