"""The jobs of a pretended worker."""

from __future__ import annotations

from dataclasses import dataclass

from procq.state import Jobs, Report


@dataclass(slots=True)
class Work:
    """One job after the other, each in `job` seconds with a `rest` in between."""

    job: float
    rest: float
    done: int = 0
    busy: bool = False
    step: int = 0
    """How many steps there were: one that was put off is void once there is another."""
    _parked: bool = False

    def heeds(self, parked: bool) -> bool:
        """Whether it acts at once when it is told to take no more jobs, or some again: it is at none."""
        return not self.busy and parked != self._parked

    def next(self, parked: bool, now: float) -> tuple[Report, float | None]:
        """The next step: what the worker says then, and after how many seconds another one follows."""
        self.step += 1
        if self.busy:
            self.done, self.busy = self.done + 1, False
            takes: float | None = 0.0 if parked or not self.rest else self.rest
        else:
            self.busy = not parked
            takes = None if parked else self.job
        self._parked = parked and not self.busy
        said = Report(
            generation=0,
            work=Jobs(self.done, 0, 0, self.done * self.job),
            busy=int(self.busy),
            job=f"job-{self.done + 1}" if self.busy else "",
            since=now if self.busy else None,
            parked=self._parked,
        )
        return said, None if self._parked else takes
