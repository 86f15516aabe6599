"""What a plan consists of: actions, each with its reason. Data to print, to record and to execute; nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from procq.model import Queue, WorkerId
from procq.state import Resting, Settings


class Reason(StrEnum):
    """Why an action is taken; the text completes "because …"."""

    WANTED = "the queue wants it"
    ENDED = "the worker before it ended"
    SURPLUS = "the queue wants fewer workers"
    REMOVED = "the queue is gone from the manifest"
    CHANGED = "what its queue runs has changed"
    ASKED = "somebody asked for it"
    STOPPED = "somebody stopped it"
    SETTINGS = "its stop or log settings changed"
    UNKNOWN_SETTINGS = "its settings are not known since the control plane started"
    CRASHED = "it ended too often"
    NO_RESOURCES = "the system lacked resources to start it"
    BAD_COMMAND = "its command cannot be executed"
    REFUSED = "the keeper refused to start it"
    COMPLETED = "its restart policy lets it rest"
    GAVE_UP = "it failed too often in too short a time"
    READY = "it has executed for long enough"
    FAULTY = "it has failed"
    LIMIT = "it has reached a limit"
    PAUSED = "somebody paused its queue"
    NEEDED = "it is needed again"


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a worker of `queue` in a free slot; the engine assigns the generation.

    `attempt` counts the failures in a row before it: 0 begins a new count. `parked`: it takes no jobs until it is told.
    """

    worker: WorkerId
    queue: Queue
    fingerprint: str
    settings: Settings
    reason: Reason
    attempt: int = 0
    parked: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask this generation to leave within `grace` seconds.

    `fault` says what it is to leave for, where that is its own fault; then its end counts as a failure. `limit` says
    which limit it has reached, where it leaves for that.
    """

    worker: WorkerId
    generation: int
    grace: float
    reason: Reason
    fault: str = ""
    limit: str = ""


@dataclass(frozen=True, slots=True)
class Park:
    """Tell a worker to take no more jobs, or (not `parked`) to take some again."""

    worker: WorkerId
    generation: int
    parked: bool
    reason: Reason


@dataclass(frozen=True, slots=True)
class Configure:
    """Change what can change while the worker runs."""

    worker: WorkerId
    generation: int
    settings: Settings
    reason: Reason


@dataclass(frozen=True, slots=True)
class Delay:
    """Leave the slot empty until `until`, after the `attempt`-th failure in a row."""

    worker: WorkerId
    generation: int
    until: float
    attempt: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Retire:
    """Leave the slot empty until what is wanted changes."""

    worker: WorkerId
    generation: int
    why: Resting
    reason: Reason


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop the record of a worker that is gone: its slot is not wanted any more, or waits as if there had been none."""

    worker: WorkerId
    generation: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class MarkReady:
    """Let this worker count as ready since `at`: it executes, and nothing else is asked of it."""

    worker: WorkerId
    generation: int
    at: float
    reason: Reason


Action = Spawn | Stop | Park | Configure | MarkReady | Delay | Retire | Forget


@dataclass(frozen=True, slots=True)
class QueuePlan:
    """What to do about one queue, and when to look again though nothing happened (None: no need).

    `old` are the slots whose workers are to be replaced in batches and work on, those among them that this plan stops
    included. `held`: something waits for another queue. `halted` says why a roll-out does not go on. `short`: it would
    have more extra workers if the machine bore them.
    """

    actions: tuple[Action, ...] = ()
    wake_at: float | None = None
    old: tuple[int, ...] = ()
    held: bool = False
    halted: str = ""
    short: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do about everything, in the manifest's order."""

    actions: tuple[Action, ...] = ()
    wake_at: float | None = None


NOTHING = QueuePlan()
