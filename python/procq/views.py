"""From the state of the engine to what the API says. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, assert_never

from procq.details import detail, what_it_finishes
from procq.details import waits_for as what_it_waits_for
from procq.endings import HEALTHY_AFTER, End
from procq.intent import DesiredQueue, desired_queue
from procq.jobs import total
from procq.meter import Load
from procq.model import Queue, WorkerId
from procq.pace import NO_PACE, Pace
from procq.plan import rollout
from procq.plan.crew import is_wanted, places
from procq.plan.readiness import unready
from procq.plan.restarted import unwanted
from procq.plan.rollout import is_old, is_outdated, survey
from procq.plan.waves import Known, waits_for
from procq.plan.wording import duration
from procq.scaling.standing import NO_STANDING, Standing
from procq.state import (
    CALM,
    Backoff,
    Draining,
    Ended,
    Finished,
    QueueState,
    Report,
    Resting,
    Running,
    Starting,
    Stopping,
    WorkerState,
)
from procq.text import duration as duration_in_words
from procq.text import listing
from procq.wire import QueueView, WorkerView

if TYPE_CHECKING:
    from procq.engine.view import StateView

_CRASHES_THAT_MATTER = 2
_SILENCE = Report(0)
_WAITS_FOR_TURN = "waits for its turn to start: see host.starts"
_RESTING = {
    Resting.STOPPED: "stopped",
    Resting.COMPLETED: "finished",
    Resting.FAILED: "failed",
    Resting.GAVE_UP: "failed",
}


@dataclass(frozen=True, slots=True)
class About:
    """What is known of workers beyond their present state."""

    loads: Mapping[WorkerId, Load] = field(default_factory=dict)
    last_exits: Mapping[WorkerId, str] = field(default_factory=dict)
    restarts: Mapping[WorkerId, int] = field(default_factory=dict)
    paces: Mapping[str, Pace] = field(default_factory=dict)
    standings: Mapping[str, Standing] = field(default_factory=dict)


def queue_names(view: StateView) -> list[str]:
    """All queues: those of the manifest in its order, then those that are being emptied."""
    wanted = wanted_names(view)
    leaving = sorted(name for name, queue in view.observed.queues.items() if queue.workers and name not in wanted)
    return [*wanted, *leaving]


def wanted_names(view: StateView) -> list[str]:
    """The queues of the manifest, in its order."""
    return list(view.intent.manifest.queues) if view.intent else []


def slots(view: StateView, name: str) -> list[int]:
    """The slots of a queue that are wanted or taken."""
    desired = desired_queue(view.intent, name) if view.intent else None
    wanted = places(desired, view.queue(name)) if desired else ()
    return sorted({*wanted, *view.queue(name).workers})


def worker_states(view: StateView, name: str) -> Counter[str]:
    """How many slots of a queue are in each state."""
    desired, observed = desired_queue(view.intent, name) if view.intent else None, view.queue(name)
    return Counter(_worker_state(desired, slot, observed.workers.get(slot)) for slot in slots(view, name))


def starting(view: StateView, name: str) -> bool:
    """Whether a worker of the queue is on its way for the first time: does not execute yet, or is not ready."""
    queue = view.queue(name)
    first = (slot for slot in queue.workers if not queue.streaks.get(slot, CALM).failed)
    workers = [queue.workers[slot] for slot in first]
    if name in view.held or any(isinstance(state, Starting) for state in workers):
        return True
    waiting = [state for state in workers if isinstance(state, Running) and state.ready is None]
    desired = desired_queue(view.intent, name) if view.intent and waiting else None
    return any(not _is_ready(desired, state) for state in waiting)


def queue_view(view: StateView, name: str, now: float, about: About) -> QueueView:
    """One queue. `now` is on the clock of the engine."""
    loads = [load for worker, load in about.loads.items() if worker.queue == name]
    desired = desired_queue(view.intent, name) if view.intent else None
    observed = view.queue(name)
    states = worker_states(view, name)
    ending = view.observed.shutting_down
    halted = halt(desired, observed, now, about.last_exits) if desired and not ending else None
    waiting_for = waits_for(desired, observed, partial(_known, view)) if desired and not ending else ()
    return QueueView(
        name=name,
        command=desired.queue.command if desired else "",
        state=_ending(states) if ending else "replacing" if halted else _queue_state(desired, observed, states, now),
        running=states["running"],
        desired=desired.workers if desired else 0,
        manifest_workers=desired.queue.workers if desired else None,
        manifest_most=desired.queue.most if desired else None,
        override=desired.adjustment.workers if desired else None,
        starting=states["starting"],
        stopping=states["stopping"] + states["unkillable"],
        waiting=states["waiting"],
        stopped=states["stopped"],
        restarts=unwanted(view.restarts.get(name, {})),
        paused=desired is not None and desired.adjustment.paused,
        **_work(observed),
        **_pace(about.paces.get(name, NO_PACE)),
        **_scaling(about.standings.get(name, NO_STANDING)),
        cpu=sum(load.cpu for load in loads) if loads else None,
        memory=sum(load.memory for load in loads) if loads else None,
        problem=halted
        or _problem(desired, observed, now)
        or _waits(waiting_for)
        or _not_ready(desired, observed, now)
        or (_WAITS_FOR_TURN if name in view.held else None),
        waits_for=waiting_for,
        not_ready=len(_unready_slots(desired, observed)),
        next_try=_next_try(observed, now),
        **(_surroundings(desired.queue) if desired else {}),
    )


def _work(observed: QueueState) -> dict[str, Any]:
    """What its workers have done and do, as far as any of them says."""
    reports = observed.reports.values()
    done = total([observed.past, *(report.work for report in reports)])
    busy = [report.busy for report in reports if report.busy is not None]
    return {
        "jobs": done.jobs,
        "jobs_failed": done.failed,
        "jobs_retried": done.retried,
        "job_seconds": done.seconds,
        "job_durations": done.took,
        "busy": sum(busy) if busy else None,
    }


def _pace(pace: Pace) -> dict[str, Any]:
    return {"throughput": pace.throughput, "busy_share": pace.busy_share}


def _scaling(standing: Standing) -> dict[str, Any]:
    return {
        "source": standing.source,
        "source_age": standing.age,
        "source_trouble": standing.trouble or None,
        "jobs_waiting": standing.waiting,
        "jobs_delayed": standing.delayed,
        "oldest_wait": standing.oldest,
        "wait_objective": standing.objective,
        "scaling": standing.reason or None,
        "short": standing.short or None,
    }


def _surroundings(queue: Queue) -> dict[str, Any]:
    user = queue.user
    return {
        "log": queue.logs.file,
        "log_format": str(queue.logs.format),
        "user": user.name if user else None,
        "user_ids": (user.uid, user.gid, *user.groups) if user else (),
    }


def worker_view(
    worker: WorkerId, desired: DesiredQueue | None, observed: QueueState, now: float, about: About, held: bool = False
) -> WorkerView:
    """One slot of the queue that is `observed`. `held`: its workers cannot start before others."""
    state = observed.workers.get(worker.slot)
    end = _end(state)
    report = _report(state, observed.reports.get(worker.slot))
    since = _since(state)
    load = about.loads.get(worker)
    wanted = is_wanted(desired, observed, worker.slot) and not (desired is None or desired.stopped(worker.slot))
    return WorkerView(
        id=str(worker),
        queue=worker.queue,
        slot=worker.slot,
        state=_worker_state(desired, worker.slot, state),
        pid=(state.pid or None) if isinstance(state, Running | Stopping) else None,
        generation=state.generation if state else None,
        age=None if since is None else max(0.0, now - since),
        restarts=about.restarts.get(worker, 0),
        last_exit=str(end) if end else about.last_exits.get(worker),
        retry_in=max(0.0, state.until - now) if isinstance(state, Backoff) else None,
        ready=_is_ready(desired, state) if isinstance(state, Running) else None,
        detail=detail(desired, worker, state, now, held and wanted)
        or what_it_finishes(desired, worker, state, report, now),
        doomed=str(state.doomed) if isinstance(state, Running) and state.doomed is not None else None,
        jobs=report.work.jobs,
        jobs_failed=report.work.failed,
        jobs_retried=report.work.retried,
        job_seconds=report.work.seconds,
        job_durations=report.work.took,
        busy=report.busy,
        job=report.job or None,
        job_for=None if report.since is None else max(0.0, now - report.since),
        paused=report.parked,
        says=report.status or None,
        cpu=load.cpu if load else None,
        memory=load.memory if load else None,
        wanted=wanted,
    )


def _report(state: WorkerState | None, report: Report | None) -> Report:
    """What the worker that is there has said; nothing where it has not, or somebody before it did."""
    there = state is not None and report is not None and report.generation == state.generation
    return report if there and report is not None else _SILENCE


def _worker_state(desired: DesiredQueue | None, slot: int, state: WorkerState | None) -> str:
    match state:
        case None:
            return "stopped" if desired and desired.stopped(slot) else "starting"
        case Starting():
            return "starting"
        case Running():
            return "running" if _is_ready(desired, state) else "starting"
        case Stopping(stuck=stuck) | Draining(stuck=stuck):
            return "unkillable" if stuck else "stopping"
        case Ended() | Backoff():
            return "waiting"
        case Finished(why=why):
            return _RESTING[why]
        case _:
            assert_never(state)


def _is_ready(desired: DesiredQueue | None, state: Running) -> bool:
    return desired is None or not unready(desired, state)


def _unready_slots(desired: DesiredQueue | None, observed: QueueState) -> list[int]:
    if desired is None:
        return []
    return [slot for slot, w in observed.workers.items() if isinstance(w, Running) and unready(desired, w)]


def _not_ready(desired: DesiredQueue | None, observed: QueueState, now: float) -> str | None:
    slots = sorted(_unready_slots(desired, observed))
    if desired is None or not slots:
        return None
    worker, state = WorkerId(desired.queue.name, slots[0]), observed.workers[slots[0]]
    assert isinstance(state, Running)
    others = f"{len(slots)} not ready: " if len(slots) > 1 else ""
    return f"{others}{worker} {what_it_waits_for(desired, worker, state, now)}"


def _next_try(observed: QueueState, now: float) -> float | None:
    untils = (w.until for w in observed.workers.values() if isinstance(w, Backoff) and w.until > now)
    return min((until - now for until in untils), default=None)


def _queue_state(desired: DesiredQueue | None, observed: QueueState, states: Counter[str], now: float) -> str:
    if desired is None:
        return "shrinking"
    if states["failed"]:
        return "failing"
    if _crashing(observed, now):
        return "crashing"
    return _calm_state(desired, observed, states, now)


def _ending(states: Counter[str]) -> str:
    """Once everything is stopped: nobody takes the place of those who leave, who have left, or whose turn comes yet."""
    if states["stopping"] or states["unkillable"]:
        return "shrinking"
    return "steady" if states["running"] + states["starting"] else "stopped"


def _calm_state(desired: DesiredQueue, observed: QueueState, states: Counter[str], now: float) -> str:
    alive = states["running"] + states["starting"] + states["stopping"] + states["unkillable"] + states["waiting"]
    if not alive and states["stopped"]:
        return "stopped"
    if not alive and states["finished"]:
        return "finished"
    crew = places(desired, observed)
    if any(slot in crew and _replaced(desired, slot, w, now) for slot, w in observed.workers.items()):
        return "replacing"
    if any(slot not in crew for slot in observed.workers):
        return "shrinking"
    if states["stopping"] or states["unkillable"]:
        return "shrinking"
    return "growing" if states["starting"] or states["waiting"] else "steady"


def _replaced(desired: DesiredQueue, slot: int, state: WorkerState, now: float) -> bool:
    if desired.stopped(slot):
        return False
    match state:
        case Stopping() | Draining():
            return True
        case Starting() | Running():
            return is_old(desired, slot, state, now)
        case _:
            return False


def _crashing(observed: QueueState, now: float) -> bool:
    for slot, streak in observed.streaks.items():
        state = observed.workers.get(slot)
        recent = not isinstance(state, Running) or now - state.at < HEALTHY_AFTER
        if state is not None and recent and streak.crashes + streak.misses >= _CRASHES_THAT_MATTER:
            return True
    return any(isinstance(state, Backoff) and state.until > now for state in observed.workers.values())


def _problem(desired: DesiredQueue | None, observed: QueueState, now: float) -> str | None:
    """The worst thing to know about a queue, in words."""
    ends = [(slot, state, _end(state)) for slot, state in sorted(observed.workers.items())]
    for slot, state, end in ends:
        if isinstance(state, Finished) and state.why is Resting.FAILED and end:
            return f"gave up: {end}"
        if isinstance(state, Finished) and state.why is Resting.GAVE_UP and end:
            policy = desired.queue.restart.give_up if desired else None
            after = f" after {policy.failures} in {duration(policy.within)}" if policy else ""
            return f"gave up{after}: {end}"
        if isinstance(state, Backoff) and state.until > now and end:
            wait = duration_in_words(state.until - now)
            return f"{end}, {_failures(observed, slot, state.attempt)}, next try in {wait}"
        if isinstance(state, Stopping | Draining) and state.stuck and desired is not None:
            return f"{WorkerId(desired.queue.name, slot)} is unkillable: {state.stuck}"
    for trouble in observed.trouble.values():
        return str(trouble)
    if desired is None:
        return "removed from the manifest"
    return None


def _waits(others: Sequence[str]) -> str | None:
    return f"waits for {listing(others)}" if others else None


def _known(view: StateView, name: str) -> Known:
    return desired_queue(view.intent, name) if view.intent else None, view.queue(name)


def halt(desired: DesiredQueue, observed: QueueState, now: float, last_exits: Mapping[WorkerId, str]) -> str | None:
    """Why the roll-out of a queue does not go on, in words; None where it does, or there is none."""
    if all(not is_outdated(desired, slot, worker) for slot, worker in observed.workers.items()):
        return None
    found = survey(desired, observed, now)
    if not found.halted:
        return None
    worker = WorkerId(desired.queue.name, found.failing[0])
    return rollout.halted(desired, observed, found, last_exits.get(worker, ""))


def _failures(observed: QueueState, slot: int, attempt: int) -> str:
    streak = observed.streaks.get(slot, CALM)
    times = max(streak.crashes + streak.misses, attempt)
    return f"{times} times in a row" if times > 1 else "once"


def _end(state: WorkerState | None) -> End | None:
    return state.end if isinstance(state, Draining | Ended | Backoff | Finished) else None


def _since(state: WorkerState | None) -> float | None:
    match state:
        case None:
            return None
        case Starting(at=at) | Running(at=at) | Stopping(at=at):
            return at
        case Draining(end=end) | Ended(end=end) | Backoff(end=end) | Finished(end=end):
            return end.at
        case _:
            assert_never(state)
