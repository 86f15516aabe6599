"""What the rest of the control plane sees of the engine: values that never change under the reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from procq.events import Stray
from procq.intent import Intent
from procq.model import WorkerId
from procq.plan.restarted import Restarts
from procq.plan.starts import NO_STARTS, Starts
from procq.state import EMPTY_QUEUE, Observed, QueueState, Report, Streak, WorkerState


@dataclass(frozen=True, slots=True)
class StateView:
    """Everything at one moment. `intent` is None until a manifest was recovered or adopted.

    `complete` is False until the keeper's first snapshot arrived, and between a gap and the next one. `starts` are
    those of late; `held` are queues of which some cannot start before others, because too many start already.
    """

    observed: Observed
    intent: Intent | None = None
    complete: bool = False
    epoch: int = 0
    instance: int = 0
    last_generation: int = 0
    strays: tuple[Stray, ...] = ()
    restarts: Mapping[str, Restarts] = field(default_factory=dict)
    starts: Starts = NO_STARTS
    held: frozenset[str] = frozenset()

    def queue(self, name: str) -> QueueState:
        """What is known about the slots of `name`; empty for a queue without any."""
        return self.observed.queues.get(name, EMPTY_QUEUE)

    def worker(self, worker: WorkerId) -> WorkerState | None:
        """The state of one slot, None for a vacant one."""
        return self.queue(worker.queue).workers.get(worker.slot)

    def report(self, worker: WorkerId) -> Report | None:
        """What its worker last said of itself."""
        return self.queue(worker.queue).reports.get(worker.slot)

    def streak(self, worker: WorkerId) -> Streak:
        """Its failures in a row."""
        return self.queue(worker.queue).streaks.get(worker.slot, Streak())
