"""One budget for all queues that scale, from one decision to the next. Pure.

Production and simulation go through here with what their queues want: see `sharing.py` for who gets what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from procq.rules import Claim
from procq.scaling.sharing import Grant, Waits, Wish, at_once, share
from procq.scaling.signals import Decision, Signals


@dataclass(frozen=True, slots=True)
class Budget:
    """What there is for all together: workers, cores, bytes; None: without limit.

    `margin` is by which part of the cores and bytes workers that are there may be beyond it, where what they take is
    measured: a measurement varies, and is no reason to end a worker and to start it again. Nobody starts beyond it.
    """

    workers: int | None = None
    cpus: float | None = None
    memory: int | None = None
    margin: float = 0.0


def wish_of(
    queue: str,
    decision: Decision,
    signals: Signals,
    claim: Claim,
    cpus: float = 0.0,
    memory: int = 0,
    *,
    failing: bool = False,
) -> Wish:
    """What a queue would like, by what its policy has decided. A worker takes `cpus` cores and `memory` bytes.

    Workers at a job that can be told to take no more may be taken: they leave between two jobs. So may those that
    start where all are `failing`: they would hardly get to work.
    """
    starting = len(signals.starting)
    return Wish(
        queue=queue,
        wanted=decision.target,
        least=min(decision.target, signals.least),
        held=signals.live,
        claim=claim,
        memory=memory,
        cpus=cpus,
        busy=signals.busy - signals.parkable + (0 if failing else starting),
        starting=starting,
        at_work=signals.busy + starting,
        failing=failing,
    )


class Sharing:
    """Shares a budget, and remembers who has waited for how long."""

    def __init__(self) -> None:
        self._waits = Waits()

    def grant(
        self, wishes: Sequence[Wish], budget: Budget, draining: Mapping[str, int], now: float
    ) -> dict[str, Grant]:
        """How many workers each queue may have at this moment.

        `draining` are workers that leave, by queue; nobody starts in the place of one who is still there.
        """
        since = self._waits.look(wishes, now)
        wishes = [replace(wish, waiting_since=since.get(wish.queue)) for wish in wishes]
        workers, cpus, memory = budget.workers, *_room(wishes, budget)
        grants = share(wishes, workers=workers, cpus=cpus, memory=memory, now=now)
        counts = at_once(wishes, grants, workers=workers, cpus=cpus, memory=memory, draining=draining)
        return {name: _now(grant, counts[name]) for name, grant in grants.items()}


def _room(wishes: Sequence[Wish], budget: Budget) -> tuple[float | None, int | None]:
    """Cores and bytes that there are, or that are taken where those are hardly more: then nobody new fits in."""
    cpus = sum(min(wish.held, wish.wanted) * wish.cpus for wish in wishes)
    memory = sum(min(wish.held, wish.wanted) * wish.memory for wish in wishes)
    return (
        cpus if _hardly_beyond(cpus, budget.cpus, budget.margin) else budget.cpus,
        memory if _hardly_beyond(memory, budget.memory, budget.margin) else budget.memory,
    )


def _hardly_beyond(taken: float, limit: float | None, margin: float) -> bool:
    return limit is not None and limit < taken <= limit * (1 + margin)


def _now(grant: Grant, count: int) -> Grant:
    if count == grant.workers:
        return grant
    short = grant.short or f"wants {grant.workers}, has {count}: others have to leave first"
    return Grant(grant.queue, count, short)
