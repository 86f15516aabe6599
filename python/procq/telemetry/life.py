"""The span of a worker's life: `procq.worker`, from execution to the end of its tree, a trace of its own.

Its ids are computed and not drawn: whoever starts the worker tells it, in `PROCQ_SPAN`, what its jobs are to be linked
to, and the control plane that sees its end, which may be another one much later, sends the span under the same ids.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from procq.endings import ExitStatus
from procq.events import Executing, Exited, Forgotten, Gone, Snapshot, StopRequested, StopSignalled, WorkerEvent
from procq.model import WorkerId
from procq.state import Backoff, Draining, Ended, Finished, Running, Stopping, WorkerState
from procq.telemetry.spans import Context, Open, Spans, Value

Ids = Callable[[int, int], Context]
RECENT: Final = 60.0
"""Seconds for which an end that nobody here has seen is told: whoever saw it may not have come to send it."""
_BOOT: Final = "/proc/sys/kernel/random/boot_id"


def boot_id() -> str:
    """What names the time since this machine was started, and no other machine's; "" where the kernel does not say."""
    try:
        with open(_BOOT, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def context_of(boot: str, instance: int, generation: int) -> Context:
    """The ids of one worker's life.

    A keeper numbers its workers; its own number, of thirty random bits, tells it from others of this boot.
    """
    digest = sha256(f"procq.worker/{boot}/{instance:x}/{generation}".encode()).digest()
    # Zero is the id of nothing.
    return Context(int.from_bytes(digest[:16]) or 1, int.from_bytes(digest[16:24]) or 1)


def traceparent(context: Context) -> str:
    """The ids in the form of W3C Trace Context; sampled, as everything that procq sends."""
    return f"00-{context.trace:032x}-{context.span:016x}-01"


@dataclass(slots=True)
class Life:
    """What is known of the life of one generation, which executes since `began` and ended as `outcome` says.

    `started` is the span of its start, where this control plane has made it. `asked`: it was told to leave.
    """

    generation: int
    began: float
    pid: int = 0
    started: Context | None = None
    asked: bool = False
    outcome: ExitStatus | None = None
    told: bool = False

    @classmethod
    def of(cls, state: WorkerState) -> Life | None:
        """What a snapshot tells; None where the worker has not executed."""
        match state:
            case Running(generation=generation, pid=pid, at=at):
                return cls(generation, at, pid)
            case Stopping(generation=generation, pid=pid, at=at) if pid:
                return cls(generation, at, pid, asked=True)
            case Draining(end=end) | Ended(end=end) | Backoff(end=end) | Finished(end=end):
                if isinstance(end.outcome, ExitStatus):
                    return cls(state.generation, end.began, asked=end.asked, outcome=end.outcome)
        return None

    @property
    def error(self) -> str:
        """What was wrong with its end; "" where nothing was, or it was told to leave."""
        fine = self.asked or self.outcome is None or self.outcome.success
        return "" if fine else str(self.outcome)


class Lives:
    """Sends the span of each life at its end. `ids` has them by instance and generation."""

    def __init__(self, spans: Spans, ids: Ids) -> None:
        self._spans = spans
        self._ids = ids
        self._lives: dict[WorkerId, Life] = {}
        self.instance = 0
        """The keeper's own number."""

    def context(self, generation: int) -> Context:
        """The ids of a life, also of one that has not begun."""
        return self._ids(self.instance, generation)

    def happened(self, event: WorkerEvent, started: Context | None) -> None:
        """`started` is the span of the start that the worker is in."""
        worker, generation = event.worker, event.generation
        if isinstance(event, Executing):
            self._lives[worker] = Life(generation, event.at, event.pid, started)
        life = self._lives.get(worker)
        if life is None or life.generation != generation:
            return
        match event:
            case StopRequested() | StopSignalled():
                life.asked = True
            case Exited(status=status):
                life.outcome = status
            case Gone(at=at, killed=killed):
                self._tell(worker, life, at, killed=killed)
            case Forgotten():
                del self._lives[worker]

    def found(self, snapshot: Snapshot) -> None:
        """Who is there goes on; of those who are not, it is told as far as it is known."""
        states = dict(snapshot.workers)
        for worker, life in list(self._lives.items()):
            if worker not in states or states[worker].generation != life.generation:
                self._tell(worker, life, snapshot.at, lost=True)
                del self._lives[worker]
        for worker, state in states.items():
            if (seen := Life.of(state)) is not None:
                life = self._lives.setdefault(worker, seen)
                life.asked, life.outcome = life.asked or seen.asked, life.outcome or seen.outcome
                if isinstance(state, Ended | Backoff | Finished):
                    life.told = life.told or (life is seen and snapshot.at - state.end.at > RECENT)
                    self._tell(worker, life, state.end.at)

    def _tell(self, worker: WorkerId, life: Life, at: float, *, killed: int = 0, lost: bool = False) -> None:
        if life.told:
            return
        life.told = True
        attributes: dict[str, Value] = {"procq.queue": worker.queue, "procq.slot": worker.slot}
        attributes |= {"procq.generation": life.generation}
        if life.pid:
            attributes["process.pid"] = life.pid
        if life.outcome is not None:
            attributes["procq.end"] = str(life.outcome)
            if life.outcome.code >= 0:
                attributes["process.exit.code"] = life.outcome.code
        if killed:
            attributes["procq.killed"] = killed
        if lost:
            attributes["procq.lost"] = True
        links = () if life.started is None else (life.started,)
        span = Open("procq.worker", self.context(life.generation), None, life.began, attributes, links)
        self._spans.life(span, at, life.error)
