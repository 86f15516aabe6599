"""What there is to know about one worker beside its state, in words. Pure."""

from __future__ import annotations

from procq.endings import Doomed
from procq.intent import DesiredQueue
from procq.model import WorkerId
from procq.plan.dooms import doom_of
from procq.plan.readiness import Deadline, awaited, outlook, unready
from procq.state import Backoff, Draining, Ended, Report, Running, Stopping, WorkerState
from procq.text import count, duration


def detail(
    desired: DesiredQueue | None, worker: WorkerId, state: WorkerState | None, now: float, held: bool = False
) -> str | None:
    """Why it is not ready, what it leaves for, when the next one comes; None where there is nothing to add.

    `held`: workers of its queue cannot start before others.
    """
    match state:
        case Running() if (doomed := _doomed(desired, worker, state, now)) is not None:
            return f"to be recycled: {doomed}"
        case Stopping(stuck=stuck) | Draining(stuck=stuck) if stuck:
            return f"SIGKILL does not end it: {stuck}"
        case Running() if desired is not None and unready(desired, state):
            return waits_for(desired, worker, state, now)
        case Stopping(fault=fault, limit=limit) if fault or limit:
            return fault or f"recycled: {limit}"
        case Backoff(until=until) if until > now:
            return f"next try in {duration(until - now)}"
        case Backoff():
            return "waits for its turn"
        case None | Ended() if held:
            return "waits for its turn"
        case _:
            return None


def what_it_finishes(
    desired: DesiredQueue | None, worker: WorkerId, state: WorkerState | None, report: Report, now: float
) -> str | None:
    """What a worker that takes no more jobs is still at; None of one that takes some."""
    told = isinstance(state, Running) and state.parked is not None
    if not told and not isinstance(state, Stopping):
        return None
    paused = desired is not None and desired.paused(worker.slot)
    if report.idle:
        return "paused" if paused and told else None
    of = f" for {duration(now - report.since)}" if report.since is not None else ""
    job = f"{report.job}{of}" if report.job else f"{count(report.busy or 0, 'job')}{of}"
    return f"{'paused, ' if paused and told else ''}finishing {job}"


def _doomed(desired: DesiredQueue | None, worker: WorkerId, state: Running, now: float) -> Doomed | None:
    return state.doomed if desired is None else doom_of(desired, worker.slot, state, now)


def waits_for(desired: DesiredQueue, worker: WorkerId, state: Running, now: float) -> str:
    """What a worker that is not ready waits for, and how long it may."""
    own = desired.queue.ready if state.settings is None else state.settings.ready
    ends = outlook(desired, worker, state)
    left = f", {duration(max(0.0, ends.at - now))} left" if isinstance(ends, Deadline) else ""
    return f"waits for {awaited(own, worker)}{left}"
