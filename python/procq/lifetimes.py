"""How long workers lived: what an exit alone does not tell."""

from __future__ import annotations

from procq.events import Event, Executing, Exited, Snapshot
from procq.model import WorkerId
from procq.state import Running


class Lifetimes:
    """Remembers when each running worker began."""

    def __init__(self) -> None:
        self._began: dict[WorkerId, float] = {}

    def ended(self, event: Event) -> float | None:
        """Takes note of `event`. Seconds that the worker lived where it is an exit of one whose start is known."""
        match event:
            case Snapshot(workers=workers):
                self._began = {worker: state.at for worker, state in workers if isinstance(state, Running)}
            case Executing(worker=worker, at=at):
                self._began[worker] = at
            case Exited(worker=worker, at=at) if worker in self._began:
                return at - self._began.pop(worker)
        return None
