"""What the machine bears: queues that scale share its budget, and the pressure that it is under is heeded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Final

from procq.engine.view import StateView
from procq.intent import Intent, wanted_workers
from procq.meter import Read
from procq.model import Manifest, Queue
from procq.monitor.follow import Follow
from procq.monitor.quiet import Users
from procq.rules import Guard
from procq.scaling.budget import Budget, Sharing, wish_of
from procq.scaling.guard import OPEN, Brake, Level, Pressure, shrink
from procq.scaling.sharing import Grant, Wish
from procq.state import EMPTY_QUEUE, Dead

MARGIN: Final = 0.1
"""Part by which what workers take may be beyond the budget until somebody has to leave, where it is measured."""


class Host:
    """The machine that the queues share.

    `read` is `procq.core.usage`; `pressure` looks at the kernel's files; `tell` hears once what a guard cannot see.
    """

    def __init__(
        self, read: Read, pressure: Callable[[], Pressure], tell: Callable[[str], None] = lambda text: None
    ) -> None:
        self._users = Users(read)
        self._read_pressure = pressure
        self._pressure = Pressure()
        self._guard: Guard | None = None
        self._brake: Brake | None = None
        self._sharing = Sharing()
        self._tell = tell
        self._blind = ""

    async def look(self, view: StateView, silent: Collection[str], now: float) -> None:
        """Looks at workers, if somebody needs to know of them, and at the pressure, if somebody guards."""
        assert view.intent is not None
        manifest = view.intent.manifest
        bounded = manifest.cpus is not None or manifest.memory is not None
        await self._users.look(view.observed.queues, manifest.queues if bounded else silent, now)
        if manifest.guard != self._guard:
            self._guard = manifest.guard
            self._brake = None if manifest.guard is None else Brake(manifest.guard)
        if self._brake is not None:
            self._pressure = await asyncio.to_thread(self._read_pressure)
            if self._pressure.blind != self._blind:
                self._blind = self._pressure.blind
                self._tell(self._blind or "the guard sees all pressure again")

    def quiet(self, name: str) -> set[int]:
        """The slots of a queue whose workers seem to do nothing."""
        return self._users.quiet(name)

    def grant(self, view: StateView, intent: Intent, follows: Mapping[str, Follow], now: float) -> dict[str, Grant]:
        """How many workers each of the queues gets of what was decided for it."""
        wishes = [self._wish(follow) for follow in follows.values()]
        draining = {name: each.signals.draining for name, each in follows.items() if each.signals is not None}
        grants = self._sharing.grant(wishes, self._budget(view, intent, follows), draining, now)
        if self._brake is None:
            return grants
        counts, said = self._braked(wishes, {name: grant.workers for name, grant in grants.items()}, now)
        return {
            name: grant if counts[name] == grant.workers else Grant(name, counts[name], grant.short or said)
            for name, grant in grants.items()
        }

    def _budget(self, view: StateView, intent: Intent, follows: Mapping[str, Follow]) -> Budget:
        """What is left for queues that scale: others have what the manifest or somebody says, and who still leaves."""
        manifest, workers, cpus, memory = intent.manifest, 0, 0.0, 0
        for name in dict.fromkeys((*manifest.queues, *view.observed.queues)):
            if name in follows:
                continue
            queue, there = manifest.queues.get(name), view.observed.queues.get(name, EMPTY_QUEUE)
            alive = sum(not isinstance(state, Dead) for state in there.workers.values())
            wanted = max(alive, 0 if queue is None else wanted_workers(intent, queue))
            cost = (0.0, 0) if queue is None else self._cost(queue)
            workers, cpus, memory = workers + wanted, cpus + wanted * cost[0], memory + wanted * cost[1]
        return Budget(
            workers=None if manifest.budget is None else max(0, manifest.budget - workers),
            cpus=None if manifest.cpus is None else max(0.0, manifest.cpus - cpus),
            memory=None if manifest.memory is None else max(0, manifest.memory - memory),
            margin=MARGIN if any(_measured(manifest, queue) for queue in manifest.queues.values()) else 0.0,
        )

    def _cost(self, queue: Queue) -> tuple[float, int]:
        """Cores and bytes that one worker takes: as the manifest says, else as was seen, else as much as it may."""
        use, claim = self._users.use(queue.name), queue.claim
        memory = int(use.memory) or queue.limits.memory or 0
        return use.cpus if claim.cpus is None else claim.cpus, memory if claim.memory is None else claim.memory

    def _braked(self, wishes: list[Wish], counts: dict[str, int], now: float) -> tuple[dict[str, int], str]:
        """What is left of it while the machine is under pressure, and what is said of that."""
        assert self._brake is not None
        held = sum(wish.held for wish in wishes)
        verdict = self._brake.look(self._pressure, held, now)
        if verdict == OPEN:
            return counts, ""
        if not verdict.allow_spawns:
            held_of = {wish.queue: max(wish.held, wish.least) for wish in wishes}
            counts = {name: min(count, held_of[name]) for name, count in counts.items()}
        if verdict.most is not None:
            counts = shrink(wishes, counts, verdict.most, drain=verdict.level is Level.RED)
        return counts, verdict.text

    def _wish(self, follow: Follow) -> Wish:
        queue, decision, signals = follow.queue, follow.decision, follow.signals
        assert decision is not None and signals is not None
        return wish_of(queue.name, decision, signals, queue.claim, *self._cost(queue), failing=follow.failing)


def _measured(manifest: Manifest, queue: Queue) -> bool:
    """Whether a worker takes of the budget what is measured, because nobody has said how much."""
    cpus, memory = manifest.cpus is not None, manifest.memory is not None
    return (cpus and queue.claim.cpus is None) or (memory and queue.claim.memory is None)
