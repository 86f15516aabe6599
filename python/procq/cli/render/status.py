"""The state of a project, as `procq status` prints it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import inf
from time import localtime, strftime

from procq.text import Style, duration, percent, plain, rate, size, table
from procq.wire import QueueView, StatusView, WorkerView
from procq.worker.counting import BOUNDS, quantile

_NOTHING = "–"
_DAY = 86_400
_SIGNS: dict[str, tuple[str, str]] = {
    "steady": ("●", "green"),
    "running": ("●", "green"),
    "growing": ("↑", "cyan"),
    "starting": ("↑", "cyan"),
    "shrinking": ("↓", "cyan"),
    "stopping": ("↓", "cyan"),
    "replacing": ("↻", "cyan"),
    "waiting": ("↻", "yellow"),
    "unkillable": ("✗", "red"),
    "crashing": ("✗", "red"),
    "failing": ("✗", "red"),
    "failed": ("✗", "red"),
    "stopped": ("■", "yellow"),
    "finished": ("✓", "dim"),
}


def project_lines(status: StatusView, style: Style, now: float) -> list[str]:
    """The head line, a row a queue, then what a person should know. `now` is in seconds since the Unix epoch."""
    lines = [_head(status, style, now), ""]
    if status.queues:
        counted = any(queue.jobs is not None for queue in status.queues)
        jobs = ("JOBS", "RATE", "P95", "BUSY") if counted else ()
        scaled = any(queue.source is not None for queue in status.queues)
        backlog = ("BACKLOG",) if scaled else ()
        titles = ("QUEUE", "STATE", "WORKERS", *backlog, *jobs, "CPU", "MEM", "RESTARTS", "")
        rows = [tuple(style(title, "dim") for title in titles)]
        rows += [_queue_row(queue, style, counted, scaled) for queue in status.queues]
        lines += table(rows, right=tuple(range(2, 6 + len(backlog) + len(jobs))))
    else:
        lines.append("no queues: add some to the manifest and save it")
    notes = _notes(status)
    return [*lines, "", *notes] if notes else lines


def worker_lines(workers: Sequence[WorkerView], style: Style) -> list[str]:
    """A row a worker; with its jobs where any of them reports some, and with the one that it is at."""
    counted = any(worker.jobs is not None for worker in workers)
    jobs = ("JOBS", "P95") if counted else ()
    titles = ("WORKER", "STATE", "PID", "FOR", *jobs, "CPU", "MEM", "RESTARTS", "LAST EXIT")
    rows = [tuple(style(title, "dim") for title in titles)]
    rows += [_worker_row(worker, style, counted) for worker in workers]
    return table(rows, right=(2, 3, 4, 5, 6, *((7, 8) if counted else ())))


def _head(status: StatusView, style: Style, now: float) -> str:
    running = sum(queue.running for queue in status.queues)
    desired = sum(queue.desired for queue in status.queues)
    since = "" if status.in_force_since is None else f" in force since {_when(status.in_force_since, now)}"
    parts = [
        "stopping" if status.shutting_down else f"up {duration(status.up_for)}",
        os.path.basename(status.manifest) + since,
        f"{running} of {desired} workers",
    ]
    return f"{style(plain(status.project), 'bold')}   {' · '.join(parts)}"


def _when(at: float, now: float) -> str:
    return strftime("%H:%M:%S" if now - at < _DAY else "%Y-%m-%d %H:%M", localtime(at))


def _queue_row(queue: QueueView, style: Style, counted: bool, scaled: bool) -> tuple[str, ...]:
    if queue.running == queue.desired or queue.state in {"crashing", "failing", "stopped", "finished"}:
        workers = f"{queue.running} of {queue.desired}"
    else:
        workers = f"{queue.running} → {queue.desired}"
    if queue.manifest_most is not None:
        workers += f" ({queue.manifest_workers}–{queue.manifest_most})"
    restarts = f"{queue.restarts:,}" if queue.restarts else _NOTHING
    problem = plain(queue.problem or queue.source_trouble or queue.short or "")
    jobs = (*((_backlog(queue),) if scaled else ()), *(_jobs(queue) if counted else ()))
    return (plain(queue.name), _state(queue.state, style), workers, *jobs, *_load(queue), restarts, problem)


def _backlog(queue: QueueView) -> str:
    """How many jobs wait, and how long the first of them has, against how long it may."""
    if queue.jobs_waiting is None:
        return _NOTHING
    oldest = "" if queue.oldest_wait is None or not queue.jobs_waiting else duration(queue.oldest_wait)
    may = "" if queue.wait_objective is None else f" of {duration(queue.wait_objective)}"
    return f"{queue.jobs_waiting:,.0f}" + (f" ({oldest}{may})" if oldest else "")


def _jobs(queue: QueueView) -> tuple[str, ...]:
    """How many are done, with those that failed; how fast, and how long 95 % take at most; how many it is at."""
    done = _NOTHING if queue.jobs is None else f"{queue.jobs:,}"
    failed = f" ({queue.jobs_failed:,} failed)" if queue.jobs_failed else ""
    fast = _NOTHING if queue.throughput is None else rate(queue.throughput)
    busy = _NOTHING if queue.busy is None else f"{queue.busy:,}"
    share = "" if queue.busy_share is None else f" ({percent(queue.busy_share)})"
    return f"{done}{failed}", fast, _longest(queue.job_durations), f"{busy}{share}"


def _longest(took: Sequence[int]) -> str:
    """What 95 % of the jobs take at most: rounded up, as the histogram counts."""
    seconds = quantile(took, 0.95)
    if seconds is None:
        return _NOTHING
    return f"≤{duration(seconds)}" if seconds < inf else f">{duration(BOUNDS[-1])}"


def _load(view: QueueView | WorkerView) -> tuple[str, str]:
    cpu = _NOTHING if view.cpu is None else percent(view.cpu)
    return cpu, _NOTHING if view.memory is None else size(view.memory)


def _worker_row(worker: WorkerView, style: Style, counted: bool) -> tuple[str, ...]:
    state = _state(worker.state, style)
    jobs = _NOTHING if worker.jobs is None else f"{worker.jobs:,}"
    return (
        plain(worker.id),
        state,
        str(worker.pid or _NOTHING),
        _NOTHING if worker.age is None else duration(worker.age),
        *((jobs, _longest(worker.job_durations)) if counted else ()),
        *_load(worker),
        f"{worker.restarts:,}" if worker.restarts else _NOTHING,
        plain(worker.last_exit or _NOTHING),
        plain(worker.detail or _job(worker)),
    )


def _job(worker: WorkerView) -> str:
    """What it is at, and for how long."""
    if worker.job_for is None:
        return ""
    others = f", {worker.busy - 1} more" if worker.busy is not None and worker.busy > 1 else ""
    return f"{worker.job or 'a job'} for {duration(worker.job_for)}{others}"


def _state(state: str, style: Style) -> str:
    sign, colour = _SIGNS.get(state, ("?", "dim"))
    return style(f"{sign} {state}", colour)


def _notes(status: StatusView) -> list[str]:
    notes = []
    if status.manifest_error is not None:
        notes.append("The manifest on disk is not in force, the one before it is:")
        notes += [f"  {line}" for line in status.manifest_error.splitlines()]
    if status.control_plane_starts > 1:
        times = status.control_plane_starts - 1
        notes.append(
            f"the control plane was started again {'once' if times == 1 else f'{times} times'}; no worker was touched"
        )
    for queue in status.queues:
        notes += _queue_notes(queue)
    return notes


def _queue_notes(queue: QueueView) -> list[str]:
    name = plain(queue.name)
    said = f"{queue.manifest_workers}–{queue.manifest_most}" if queue.manifest_most else queue.manifest_workers
    notes = []
    if queue.state in {"crashing", "failing"}:
        notes.append(
            f"{name} is {queue.state}: `procq status {name}` and `procq logs {name}` show why, "
            f"`procq start {name}` tries again"
        )
    if queue.override is not None:
        notes.append(
            f"{name} is overridden to {queue.override} (manifest says {said}): "
            f"`procq scale {name}=auto`" + ("" if queue.manifest_most else f" or `procq scale {name} --save`")
        )
    if queue.paused:
        notes.append(f"{name} is paused and takes no jobs: `procq resume {name}`")
    if queue.state == "stopped":
        notes.append(f"{name} was stopped by hand: `procq start {name}`")
    elif queue.stopped:
        notes.append(f"{queue.stopped} of {name} stopped by hand: `procq start {name}`")
    return notes
