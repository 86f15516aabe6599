"""What happens: the closed union of events. `procq.fold` says what each does to the observed state.

Three sources: the keeper reports facts, the control plane records its own requests *before* it sends them
(so that no plan repeats what is in flight, and no intended end is mistaken for a crash), and people change the intent.

Times are seconds on the monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from procq.endings import Doom, ExitStatus, SpawnFailure
from procq.model import WorkerId
from procq.state import Jobs, LogFailure, Report, Resting, Settings, WorkerState

# --- the conversation with the keeper ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attached:
    """The keeper welcomed us. `epoch` counts control planes; `instance` names the keeper for its life.

    `was_ready`: one of them has declared that everything runs.
    """

    epoch: int
    instance: int
    last_generation: int
    shutting_down: bool
    was_ready: bool = False


@dataclass(frozen=True, slots=True)
class Incompatible:
    """The keeper speaks only versions that we do not."""

    oldest: int
    newest: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the control plane before us had the keeper save, checked and whole; None when it is damaged."""

    data: bytes | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All workers the keeper knows, at `at`. Spawns after `last_generation` are still on their way."""

    workers: tuple[tuple[WorkerId, WorkerState], ...]
    at: float
    last_generation: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Events were lost; a snapshot follows."""


@dataclass(frozen=True, slots=True)
class Pinged:
    """The keeper asks whether we still think."""

    number: int


@dataclass(frozen=True, slots=True)
class ReloadAsked:
    """SIGHUP: look at the manifest again."""


@dataclass(frozen=True, slots=True)
class HandOverAsked:
    """A control plane of another version takes our place: finish what is under way, then hang up."""


@dataclass(frozen=True, slots=True)
class ShuttingDown:
    """Everything is being stopped by the keeper; nothing may be started any more."""

    reason: str
    fast: bool


# --- facts about one worker -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Executing:
    """Exec has happened."""

    worker: WorkerId
    generation: int
    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class BecameReady:
    """The worker is ready; the keeper knows when it was the one `by_keeper` that found out, else it has to be told."""

    worker: WorkerId
    generation: int
    at: float
    by_keeper: bool = True


@dataclass(frozen=True, slots=True)
class Condemned:
    """The worker has to be replaced: a check, a watchdog or a look at what it uses found out why."""

    worker: WorkerId
    generation: int
    why: Doom
    detail: str
    at: float


@dataclass(frozen=True, slots=True)
class Stuck:
    """SIGKILL was sent, and something of the worker is there still: `what` names it and where it hangs."""

    worker: WorkerId
    generation: int
    what: str
    at: float


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """The program could not be executed; `Gone` follows once the child that tried is reaped."""

    worker: WorkerId
    generation: int
    failure: SpawnFailure
    at: float


@dataclass(frozen=True, slots=True)
class StopSignalled:
    """The keeper has sent the stop signal; SIGKILL follows at `deadline`."""

    worker: WorkerId
    generation: int
    deadline: float
    at: float


@dataclass(frozen=True, slots=True)
class Exited:
    """The leader has ended; its tree may still be there."""

    worker: WorkerId
    generation: int
    status: ExitStatus
    at: float


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing of this generation is left. `killed` processes needed SIGKILL."""

    worker: WorkerId
    generation: int
    killed: int
    at: float


@dataclass(frozen=True, slots=True)
class Refused:
    """The keeper could not carry out a command for this generation."""

    worker: WorkerId
    generation: int
    why: str
    at: float


@dataclass(frozen=True, slots=True)
class LogProblem:
    """Something about a log file fails, or works again (`errno` 0); `dropped` bytes were lost."""

    worker: WorkerId
    path: str
    errno: int
    dropped: int
    failure: LogFailure = LogFailure.DATA


@dataclass(frozen=True, slots=True)
class Reported:
    """What a worker says of itself; several messages in a row may have become one report."""

    worker: WorkerId
    report: Report


@dataclass(frozen=True, slots=True)
class Tallied:
    """What the workers of a queue have done that are gone, together; `generation` is the one that went now, or 0."""

    queue: str
    generation: int
    past: Jobs


@dataclass(frozen=True, slots=True)
class Probed:
    """A command that looks after a worker has ended: with 0, with another status, not at all in time, or unstarted.

    `generation` is that of the probe. `outcome` is None where it was killed for its time. `output` is the last of it.
    """

    worker: WorkerId
    generation: int
    outcome: ExitStatus | SpawnFailure | None
    output: str


@dataclass(frozen=True, slots=True)
class Stray:
    """A process that no worker can be charged with; it ends at shutdown."""

    pid: int
    name: str


# --- our own requests and decisions, each with the reason it was taken for ------------------------------------------


@dataclass(frozen=True, slots=True)
class SpawnRequested:
    """A spawn is about to be sent; a `fresh` one begins a new count of failures."""

    worker: WorkerId
    generation: int
    fingerprint: str
    settings: Settings
    at: float
    reason: str
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class StopRequested:
    """A stop is about to be sent."""

    worker: WorkerId
    generation: int
    deadline: float
    at: float
    reason: str
    fault: str = ""
    """What it is to leave for, where that is its own fault."""
    limit: str = ""
    """And where it has reached a limit."""
    surplus: bool = False
    """Its queue wants fewer."""


@dataclass(frozen=True, slots=True)
class ParkRequested:
    """A worker is about to be told to take no more jobs, or (not `parked`) to take some again."""

    worker: WorkerId
    generation: int
    parked: bool
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class ConfigureRequested:
    """New settings are about to be sent."""

    worker: WorkerId
    generation: int
    settings: Settings
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Delayed:
    """The next start of the slot waits until `until`, after the `attempt`-th failure in a row."""

    worker: WorkerId
    generation: int
    until: float
    attempt: int
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Retired:
    """The slot stays empty until what is wanted changes."""

    worker: WorkerId
    generation: int
    why: Resting
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The record of a worker that is gone is dropped: the slot is no longer wanted."""

    worker: WorkerId
    generation: int
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class RollOutHalted:
    """Old workers of a queue stay because new ones fail, as `why` says; told once each time that it comes to that."""

    queue: str
    why: str
    at: float


@dataclass(frozen=True, slots=True)
class Rescaled:
    """Scaling has found another number of workers right for a queue."""

    queue: str
    before: int
    after: int
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class IntentChanged:
    """What is wanted changed: by whom or what, and how."""

    at: float
    reason: str


Fact = Executing | BecameReady | Condemned | SpawnFailed | StopSignalled | Exited | Stuck | Gone | Refused
Request = SpawnRequested | StopRequested | ParkRequested | ConfigureRequested | Delayed | Retired | Forgotten
WorkerEvent = Fact | Request
Conversation = (
    Attached | Incompatible | Recovered | Snapshot | Gap | Pinged | ReloadAsked | HandOverAsked | ShuttingDown
)
KeeperEvent = Fact | Conversation | LogProblem | Reported | Tallied | Probed | Stray
Event = KeeperEvent | Request | RollOutHalted | Rescaled | IntentChanged
