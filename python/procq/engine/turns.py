"""Whose turn it is to start workers: the engine's keeper of `procq.plan.starts`, which decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from procq.model import StartRate
from procq.plan import Spawn
from procq.plan.starts import NO_STARTS, Starts, admit
from procq.state import Running, Starting, Stopping, WorkerState


@dataclass(slots=True)
class Turns:
    """What was started lately, and the queues of which some may not start yet."""

    starts: Starts = NO_STARTS
    held: set[str] = field(default_factory=set)

    def found(self, workers: Iterable[WorkerState]) -> None:
        """After a snapshot: what a control plane before this one has started counts, as far as it is still known."""
        if self.starts == NO_STARTS:
            self.starts = Starts.of(map(_began, workers))

    def admit(
        self, wishes: Mapping[str, Sequence[Spawn]], rate: StartRate, now: float
    ) -> tuple[list[Spawn], float | None]:
        """The starts that may happen now, and when those of the `held` queues have to be asked again."""
        granted, self.starts = admit({name: len(spawns) for name, spawns in wishes.items()}, self.starts, rate, now)
        admitted = [spawn for name, spawns in wishes.items() for spawn in spawns[: granted[name]]]
        held = {name for name, spawns in wishes.items() if granted[name] < len(spawns)}
        self.held |= held
        return admitted, self.starts.next_at(rate, now) if held else None


def _began(state: WorkerState) -> float:
    return state.at if isinstance(state, Starting | Running | Stopping) else state.end.began
