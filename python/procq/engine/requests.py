"""What an action becomes: the event that records it, and the commands that carry it out."""

from __future__ import annotations

from typing import assert_never

from procq.engine.port import (
    Command,
    ConfigureWorker,
    ForgetWorker,
    MarkWorkerReady,
    ParkWorker,
    SpawnWorker,
    StopWorker,
)
from procq.events import (
    BecameReady,
    ConfigureRequested,
    Delayed,
    Forgotten,
    ParkRequested,
    Request,
    Retired,
    SpawnRequested,
    StopRequested,
)
from procq.plan import Action, Configure, Delay, Forget, MarkReady, Park, Reason, Retire, Spawn, Stop
from procq.state import WorkerState


def translate(
    action: Action, now: float, generation: int, old: WorkerState | None, project: str
) -> tuple[Request | BecameReady, tuple[Command, ...]]:
    """Event and commands for `action`; a spawn gets `generation` and `project`, and drops the record of `old`."""
    worker, reason = action.worker, action.reason
    match action:
        case Spawn(_, queue, fingerprint, settings, _, attempt, parked):
            event = SpawnRequested(worker, generation, fingerprint, settings, now, reason, attempt == 0)
            spawn = SpawnWorker(worker, generation, queue, fingerprint, project, parked)
            return event, (spawn,) if old is None else (ForgetWorker(worker, old.generation), spawn)
        case Stop(_, generation, grace, _, fault, limit):
            why = f"{reason}: {fault or limit}" if fault or limit else str(reason)
            surplus = reason is Reason.SURPLUS
            requested = StopRequested(worker, generation, now + grace, now, why, fault, limit, surplus)
            return requested, (StopWorker(worker, generation),)
        case Park(_, generation, parked):
            park = ParkRequested(worker, generation, parked, now, reason)
            return park, (ParkWorker(worker, generation, parked),)
        case MarkReady(_, generation, at):
            ready = BecameReady(worker, generation, at, by_keeper=False)
            return ready, (MarkWorkerReady(worker, generation),)
        case Configure(_, generation, settings):
            event_ = ConfigureRequested(worker, generation, settings, now, reason)
            return event_, (ConfigureWorker(worker, generation, settings),)
        case Delay(_, generation, until, attempt):
            return Delayed(worker, generation, until, attempt, now, reason), ()
        case Retire(_, generation, why):
            return Retired(worker, generation, why, now, reason), ()
        case Forget(_, generation):
            return Forgotten(worker, generation, now, reason), (ForgetWorker(worker, generation),)
        case _:
            assert_never(action)
