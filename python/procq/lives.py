"""What an exit alone does not tell: how long the worker lived, and whether it had been asked to leave."""

from __future__ import annotations

from dataclasses import dataclass

from procq.events import Event, Executing, Exited, Snapshot, StopRequested
from procq.model import WorkerId
from procq.state import Running, Stopping


@dataclass(frozen=True, slots=True)
class Life:
    """The life that an exit ended. `seconds` is None where its start is not known."""

    seconds: float | None = None
    asked: bool = False


UNKNOWN = Life()


class Lives:
    """Remembers when each running worker began, and which were asked to leave."""

    def __init__(self) -> None:
        self._began: dict[WorkerId, float] = {}
        self._asked: set[WorkerId] = set()

    def look(self, event: Event) -> Life:
        """Takes note of `event`; where it is an exit, the life that has ended."""
        match event:
            case Snapshot(workers=workers):
                self._began = {worker: state.at for worker, state in workers if isinstance(state, Running)}
                self._asked = {worker for worker, state in workers if isinstance(state, Stopping)}
            case Executing(worker=worker, at=at):
                self._began[worker] = at
            case StopRequested(worker=worker):
                self._asked.add(worker)
            case Exited(worker=worker, at=at):
                began = self._began.pop(worker, None)
                asked = worker in self._asked
                self._asked.discard(worker)
                return Life(None if began is None else at - began, asked)
        return UNKNOWN
