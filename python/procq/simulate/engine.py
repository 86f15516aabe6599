"""Simulates queues and their workers event by event; whoever scales them sees only what a control plane would see.

Every second the sources are asked, and a little later the numbers of workers are decided, with answers that are old by
then. A second is a tick of production too.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from procq.rules import Claim, ScaleRule
from procq.scaling.budget import Budget, Sharing, wish_of
from procq.scaling.policy import Policy
from procq.scaling.signals import Signals
from procq.scaling.tuning import TICK, TUNING, Tuning
from procq.simulate.load import Load
from procq.simulate.queue import Boots, Leave, Queue
from procq.simulate.result import Result

_DELAY: Final = 0.3
"""Seconds from a source's answer to the decision."""


class Fleet(Protocol):
    """Whoever decides, for all queues of a simulation at once.

    `leave` is who goes where there are too many; a job in hand has `grace` seconds left then.
    """

    leave: Leave
    grace: float

    def targets(self, signals: Sequence[Signals]) -> Sequence[int]:
        """The workers that each queue should have."""
        ...


class Procq:
    """The policy of production, one for each queue, and the sharing of production where there is a budget for all.

    `claims` are what each queue may claim of it; without them all are equal.

    Only where queues make room for each other may workers that are busy have to go, and these can be parked. Without a
    budget none may, so whoever has to all the same is interrupted, and counted.
    """

    grace = float("inf")

    def __init__(
        self,
        rules: Sequence[ScaleRule],
        budget: Budget | None = None,
        claims: Sequence[Claim] = (),
        tuning: Tuning = TUNING,
    ) -> None:
        self._policies = [Policy(rule, tuning) for rule in rules]
        self._budget = budget
        self.leave = Leave.AT_ONCE if budget is None else Leave.BETWEEN_JOBS
        self._claims = claims or [Claim()] * len(rules)
        self._sharing = Sharing()
        self.refused = [False] * len(rules)

    def targets(self, signals: Sequence[Signals]) -> Sequence[int]:
        """As the policies decide, cut to the budget."""
        told = [replace(each, refused=each.refused or cut) for each, cut in zip(signals, self.refused, strict=True)]
        decided = [policy.decide(each) for policy, each in zip(self._policies, told, strict=True)]
        if self._budget is None:
            return [decision.target for decision in decided]
        names = [f"{index:03}" for index in range(len(told))]
        wishes = [wish_of(*each) for each in zip(names, decided, told, self._claims, strict=True)]
        draining = {name: each.draining for name, each in zip(names, told, strict=True)}
        grants = self._sharing.grant(wishes, self._budget, draining, told[0].now)
        given = [grants[name].workers for name in names]
        self.refused = [workers < decision.wanted for workers, decision in zip(given, decided, strict=True)]
        return given


@dataclass(frozen=True, slots=True)
class Settings:
    """`boot` is the mean of the boots in seconds; `polls` the seconds between two looks at a source.

    `moments`: for charts, every so many seconds how it is; 0: never. `ages`: the source knows since when jobs wait.
    """

    boot: float = 3.0
    seed: int = 0
    least: int = 0
    polls: int = 1
    moments: int = 0
    ages: bool = False


class Clock:
    """What is to happen, in order of time."""

    __slots__ = ("_heap", "_number")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._number = 0

    def later(self, at: float, act: Callable[[float], None]) -> None:
        """Has `act` called at a time; of two at the same time the earlier asked goes first."""
        self._number += 1
        heapq.heappush(self._heap, (at, self._number, act))

    def run(self, until: float) -> None:
        """Lets time pass."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until:
            at, _, act = pop(heap)
            act(at)


def simulate(loads: Sequence[Load], fleet: Fleet, settings: Settings) -> list[Result]:
    """Runs the loads at the same time, and says what became of each. The same arguments give the same results."""
    clock = Clock()
    boots = Boots(settings.boot)
    queues = [
        Queue(load, boots, settings.least, settings.seed + 1000 * index, settings.ages, clock.later)
        for index, load in enumerate(loads)
    ]
    end = max(load.seconds for load in loads)
    tick = 0
    while (now := tick * TICK) < end:
        clock.run(now - _DELAY)
        if tick % settings.polls == 0:
            for queue in queues:
                queue.poll(now - _DELAY)
        clock.run(now)
        _decide(queues, fleet, now)
        if settings.moments and tick % settings.moments == 0:
            for queue in queues:
                queue.remember(now)
        tick += 1
    clock.run(end)
    return [queue.result(end) for queue in queues]


def _decide(queues: Sequence[Queue], fleet: Fleet, now: float) -> None:
    targets = fleet.targets([queue.signals(now) for queue in queues])
    for queue, target in zip(queues, targets, strict=True):
        most = queue.load.most
        queue.refused = target >= most
        queue.scale(min(target, most), now, fleet.leave, fleet.grace)


def simulate_one(load: Load, rule: ScaleRule, settings: Settings, tuning: Tuning = TUNING) -> Result:
    """One queue under the policy of production."""
    return simulate([load], Procq([rule], tuning=tuning), settings)[0]
