"""What an exit alone does not tell: how long the worker lived, and whether it had been asked to leave."""

from __future__ import annotations

from dataclasses import dataclass

from procq.events import Event, Executing, Exited, Snapshot, SpawnRequested, StopRequested
from procq.model import WorkerId
from procq.state import Running, Stopping


@dataclass(frozen=True, slots=True)
class Life:
    """The life that an exit ended. `seconds` is None where its start is not known. `fault` and `limit` as in `End`."""

    seconds: float | None = None
    asked: bool = False
    fault: str = ""
    limit: str = ""


UNKNOWN = Life()


class Lives:
    """Remembers when each running worker began, and which were asked to leave."""

    def __init__(self) -> None:
        self._began: dict[WorkerId, float] = {}
        self._asked: dict[WorkerId, tuple[str, str]] = {}

    def look(self, event: Event) -> Life:
        """Takes note of `event`; where it is an exit, the life that has ended."""
        match event:
            case Snapshot(workers=workers):
                self._began = {worker: state.at for worker, state in workers if isinstance(state, Running)}
                stopping = [worker for worker, state in workers if isinstance(state, Stopping)]
                self._asked = {worker: self._asked.get(worker, ("", "")) for worker in stopping}
            case Executing(worker=worker, at=at):
                self._began[worker] = at
            case SpawnRequested(worker=worker):
                # What was asked of one that never executed is not asked of the next.
                self._asked.pop(worker, None)
            case StopRequested(worker=worker, fault=fault, limit=limit):
                self._asked[worker] = fault, limit
            case Exited(worker=worker, at=at):
                began = self._began.pop(worker, None)
                asked = worker in self._asked
                fault, limit = self._asked.pop(worker, ("", ""))
                return Life(None if began is None else at - began, asked, fault, limit)
        return UNKNOWN
