"""Events in the words people read. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from procq.endings import Doomed, ending
from procq.events import (
    Attached,
    BecameReady,
    Condemned,
    ConfigureRequested,
    Delayed,
    Event,
    Executing,
    Exited,
    Gone,
    IntentChanged,
    LogProblem,
    Refused,
    Rescaled,
    Retired,
    RollOutHalted,
    ShuttingDown,
    SpawnFailed,
    StopRequested,
    Stray,
    Stuck,
)
from procq.lives import UNKNOWN, Life
from procq.model import WorkerId
from procq.state import LogTrouble, Resting
from procq.text import count, duration

_RESTING = {
    Resting.STOPPED: "stays stopped",
    Resting.COMPLETED: "has finished",
    Resting.FAILED: "gave up",
    Resting.GAVE_UP: "gave up",
}


@dataclass(frozen=True, slots=True)
class Description:
    """What an event says: its kind, for programs, and a text, for people."""

    kind: str
    text: str
    worker: WorkerId | None = None
    queue: str | None = None


def describe(event: Event, life: Life = UNKNOWN) -> Description | None:
    """The words for `event`; None for those that say nothing to a person. `life` is what an exit ended."""
    match event:
        case Executing(worker, _, pid, _):
            return Description("started", f"started, pid {pid}", worker)
        case SpawnFailed(worker, _, failure, _):
            return Description("start_failed", f"cannot start: {failure}", worker)
        case Exited(worker, _, status, _):
            lived = "" if life.seconds is None else f" after {duration(life.seconds)}"
            why = f": {ending(status, True, life.fault, life.limit)}" if life.fault or life.limit else ""
            kind = "left" if life.asked and not life.fault else "exited"
            return Description(kind, f"{ending(status, life.asked)}{lived}{why}{_work(life)}", worker)
        case Gone(worker, _, killed, _) if killed:
            return Description("killed", f"{count(killed, 'process', 'processes')} had to be killed", worker)
        case Refused(worker, _, why, _):
            return Description("refused", f"the keeper refused: {why}", worker)
        case LogProblem(worker, path, errno, dropped, failure):
            return Description("log_trouble", str(LogTrouble(path, errno, dropped, failure)), worker)
        case _:
            return _describe_finding(event)


def _work(life: Life) -> str:
    """What it had done when it ended, and what it was at: that is not finished."""
    if life.report is None:
        return ""
    done, busy = life.report.work, life.report.busy or 0
    parts = [] if done.jobs is None else [count(done.jobs, "job") + (f" ({done.failed} failed)" if done.failed else "")]
    if busy:
        of = "" if life.at_job is None else f" for {duration(life.at_job)}"
        job = life.report.job or count(busy, "job")
        parts.append(f"interrupted at {job}{of}" + (f" and {busy - 1} more" if life.report.job and busy > 1 else ""))
    return f"; {', '.join(parts)}" if parts else ""


def _describe_finding(event: Event) -> Description | None:
    match event:
        case BecameReady(worker=worker):
            return Description("ready", "ready", worker)
        case Condemned(worker, _, why, detail, at):
            what = "it is stopped" if why.fault else "replaced when its turn comes"
            return Description("condemned", f"{Doomed(why, detail, at)}: {what}", worker)
        case Stuck(worker, _, what, _):
            return Description("unkillable", f"SIGKILL does not end it: {what}", worker)
        case _:
            return _describe_decision(event)


def _describe_decision(event: Event) -> Description | None:
    match event:
        case StopRequested(worker, _, deadline, at, reason):
            return Description("stopping", f"asked to leave within {duration(deadline - at)}: {reason}", worker)
        case Delayed(worker, _, until, attempt, at, reason):
            text = f"starts again in {duration(max(0.0, until - at))}, failure {attempt} in a row: {reason}"
            return Description("delayed", text, worker)
        case Retired(worker, _, why, _, reason):
            kind = "gave_up" if why in (Resting.FAILED, Resting.GAVE_UP) else "rests"
            return Description(kind, f"{_RESTING[why]}: {reason}", worker)
        case ConfigureRequested(worker, _, _, _, reason):
            return Description("configured", f"settings renewed: {reason}", worker)
        case RollOutHalted(queue, why, _):
            return Description("roll_out_halted", f"{why}; the old workers go on", queue=queue)
        case Rescaled(queue, before, after, _, reason):
            return Description("scaled", f"{before} → {count(after, 'worker')}: {reason}", queue=queue)
        case _:
            return _describe_project(event)


def _describe_project(event: Event) -> Description | None:
    match event:
        case IntentChanged(_, reason):
            return Description("changed", reason)
        case Attached(epoch=epoch) if epoch > 1:
            text = f"control plane started again (no. {epoch}); no worker was touched"
            return Description("control_plane", text)
        case Stray(pid, name):
            return Description("stray", f"process {pid} ({name}) belongs to no worker; it ends when procq does")
        case ShuttingDown(reason, _):
            return Description("shutting_down", f"stopping everything: {reason}")
        case _:
            return None
