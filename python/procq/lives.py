"""What an exit alone does not tell: how long the worker lived, whether it had been asked to leave, what it had done."""

from __future__ import annotations

from dataclasses import dataclass

from procq.events import Event, Executing, Exited, Reported, Snapshot, SpawnRequested, StopRequested
from procq.model import WorkerId
from procq.state import Report, Running, Stopping


@dataclass(frozen=True, slots=True)
class Life:
    """The life that an exit ended. `seconds` is None where its start is not known. `fault` and `limit` as in `End`.

    `report` is what it last said of itself, None where it said nothing; `at_job` for how long it was at the job in it.
    """

    seconds: float | None = None
    asked: bool = False
    fault: str = ""
    limit: str = ""
    report: Report | None = None
    at_job: float | None = None


UNKNOWN = Life()


class Lives:
    """Remembers when each running worker began, which were asked to leave, and what each last said."""

    def __init__(self) -> None:
        self._began: dict[WorkerId, float] = {}
        self._asked: dict[WorkerId, tuple[str, str]] = {}
        self._reports: dict[WorkerId, Report] = {}

    def look(self, event: Event) -> Life:
        """Takes note of `event`; where it is an exit, the life that has ended."""
        match event:
            case Snapshot(workers=workers):
                self._began = {worker: state.at for worker, state in workers if isinstance(state, Running)}
                stopping = [worker for worker, state in workers if isinstance(state, Stopping)]
                self._asked = {worker: self._asked.get(worker, ("", "")) for worker in stopping}
                known = {worker for worker, _ in workers}
                self._reports = {worker: report for worker, report in self._reports.items() if worker in known}
            case Executing(worker=worker, at=at):
                self._began[worker] = at
            case SpawnRequested(worker=worker):
                # What was asked of one that never executed is not asked of the next.
                self._asked.pop(worker, None)
            case StopRequested(worker=worker, fault=fault, limit=limit):
                self._asked[worker] = fault, limit
            case Reported(worker=worker, report=report):
                self._reports[worker] = report
            case Exited():
                return self._ended(event)
        return UNKNOWN

    def _ended(self, exited: Exited) -> Life:
        began = self._began.pop(exited.worker, None)
        asked = exited.worker in self._asked
        fault, limit = self._asked.pop(exited.worker, ("", ""))
        report = self._reports.pop(exited.worker, None)
        if report is not None and report.generation != exited.generation:
            report = None
        since = None if report is None or report.idle else report.since
        seconds, at_job = (None if start is None else max(0.0, exited.at - start) for start in (began, since))
        return Life(seconds, asked, fault, limit, report, at_job)
