"""Reads the keeper's messages: each kind becomes an event; parts of a snapshot and of the saved intent are joined."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from procq.endings import Doom, End, ExitStatus, Refusal, SpawnFailure
from procq.engine.blob import Assembly, Part
from procq.events import (
    Attached,
    BecameReady,
    Condemned,
    Executing,
    Exited,
    Gap,
    Gone,
    HandOverAsked,
    Incompatible,
    KeeperEvent,
    LogProblem,
    Pinged,
    Probed,
    Recovered,
    Refused,
    ReloadAsked,
    Reported,
    ShuttingDown,
    Snapshot,
    SpawnFailed,
    StopSignalled,
    Stray,
    Stuck,
    Tallied,
)
from procq.model import WorkerId
from procq.state import Draining, Ended, Jobs, LogFailure, Report, Running, Starting, Stopping, WorkerState

Message = Mapping[str, Any]


class Reader:
    """Turns messages into events, in order. Keeps what has arrived of a snapshot until its end has."""

    def __init__(self) -> None:
        self._blob = Assembly()
        self._records: list[tuple[WorkerId, WorkerState]] = []
        self._said: list[KeeperEvent] | None = None
        """What workers have said, while a snapshot is on its way."""
        self._now = 0.0

    def read(self, messages: Iterable[Message]) -> list[KeeperEvent]:
        """The events in `messages`. Raises ValueError for a message that lacks what its kind has."""
        events: list[KeeperEvent] = []
        for message in messages:
            try:
                events.extend(self._event(message))
            except (KeyError, TypeError) as error:
                raise ValueError(f"the keeper sent a {message.get('t')!r} message without {error}") from error
        return events

    def _event(self, m: Message) -> Iterable[KeeperEvent]:
        kind = m["t"]
        if (read := _ABOUT_WORKERS.get(kind)) is not None:
            worker, at = WorkerId.parse(m["worker"]), _seconds(m["at"]) if "at" in m else self._now
            self._now = at
            event = read(worker, m.get("generation", 0), at, m)
            if kind == "reported" and self._said is not None:
                # Nobody may conclude from the snapshot alone that this worker does not speak.
                self._said.append(event)
                return ()
            return (event,)
        match kind:
            case "welcome":
                self._blob, self._records, self._said = Assembly(), [], []
                return _conversation(m)
            case "gap":
                self._said = []
                return _conversation(m)
            case "blob":
                self._blob.add(Part(m["part"], m["parts"], m["crc"], m["data"]))
                return ()
            case "workers":
                self._records.extend((WorkerId.parse(item["worker"]), worker_state(item)) for item in m["items"])
                return self._recovered()
            case "snapshot_end":
                said, self._said = self._said or [], None
                return (*self._recovered(), self._snapshot(m), *said)
            case _:
                return _conversation(m)

    def _snapshot(self, m: Message) -> Snapshot:
        records, self._records = tuple(self._records), []
        self._now = _seconds(m["at"])
        return Snapshot(records, self._now, m["last_generation"])

    def _recovered(self) -> Iterable[KeeperEvent]:
        if self._blob.empty:
            return ()
        blob, self._blob = self._blob, Assembly()
        return (Recovered(blob.whole),)


def worker_state(m: Message) -> WorkerState:
    """A worker of a snapshot as a state. Raises ValueError for a phase that does not exist."""
    generation, fingerprint, at = m["generation"], m["fingerprint"], _seconds(m["at"])
    deadline = _seconds(m["deadline"] or 0)
    # A keeper of an earlier version does not say it.
    wave = m.get("wave", 0)
    match m["phase"]:
        case "starting" | "stopping" if m["failure"] is not None:
            return Draining(generation, fingerprint, _end(m, at), wave)
        case "starting":
            return Starting(generation, fingerprint, at, None, wave)
        case "running":
            ready, parked = _maybe_seconds(m.get("ready")), _maybe_seconds(m.get("parked"))
            return Running(generation, fingerprint, m["pid"], at, None, wave, ready, parked=parked)
        case "stopping":
            why, ready = "asked before this control plane", _maybe_seconds(m.get("ready"))
            return Stopping(generation, fingerprint, m["pid"], at, deadline, why, wave, ready=ready)
        case "draining":
            return Draining(generation, fingerprint, _end(m, at), wave)
        case "gone":
            return Ended(generation, fingerprint, _end(m, at))
        case phase:
            raise ValueError(f"the keeper reports {m['worker']} in a phase unknown here: {phase!r}")


def _end(m: Message, began: float) -> End:
    ended = began if m["ended"] is None else _seconds(m["ended"])
    # A keeper of an earlier version does not say it.
    asked, ready = m.get("asked", False), _maybe_seconds(m.get("ready"))
    if m["failure"] is not None:
        return End(_failure(m["failure"]), began, ended, asked)
    if m["status"] is not None:
        return End(_status(m["status"]), began, ended, asked, ready=ready)
    return End(Refusal("the keeper does not know how it ended"), began, ended, asked)


def _status(m: Message) -> ExitStatus:
    return ExitStatus(-m["signal"] if m["code"] is None else m["code"], m.get("oom", False))


def _failure(m: Message) -> SpawnFailure:
    return SpawnFailure(m["stage"], m["errno"], os.fsdecode(m["path"]), m["transient"])


def _seconds(nanoseconds: int) -> float:
    return nanoseconds / 1e9


def _maybe_seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else _seconds(nanoseconds)


def _conversation(m: Message) -> Iterable[KeeperEvent]:
    match m["t"]:
        case "welcome":
            # A keeper of an earlier version does not say whether one was ready.
            was_ready = m.get("was_ready", False)
            return (Attached(m["epoch"], m["instance"], m["last_generation"], m["shutting_down"], was_ready),)
        case "incompatible":
            return (Incompatible(m["oldest"], m["newest"]),)
        case "gap":
            return (Gap(),)
        case "ping":
            return (Pinged(m["n"]),)
        case "reload":
            return (ReloadAsked(),)
        case "retire":
            return (HandOverAsked(),)
        case "shutting_down":
            return (ShuttingDown(m["reason"], m["fast"]),)
        case "tally":
            return (Tallied(m["queue"], m["generation"], _jobs(m)),)
        case "stray":
            return (Stray(m["pid"], m["name"]),)
        case _:
            return ()


def _report(m: Message) -> Report:
    # A keeper of an earlier version does not say whether it can be parked.
    since, parked = _maybe_seconds(m["since"]), m.get("parked")
    return Report(m["generation"], m["status"], _jobs(m), m["busy"], m["job"], since, parked)


def _jobs(m: Message) -> Jobs:
    took = m.get("took_usec")
    seconds = None if took is None else took / 1e6
    return Jobs(m["jobs"], m["failed"], m.get("retried"), seconds, tuple(m.get("took", ())))


def _probe_outcome(m: Message) -> ExitStatus | SpawnFailure | None:
    if m["timed_out"]:
        return None
    return _status(m["status"]) if m["failure"] is None else _failure(m["failure"])


def _silent(worker: WorkerId, generation: int, at: float, m: Message) -> Condemned:
    seconds = m["silence"] / 1000
    detail = f"no WATCHDOG=1 for {seconds:g}s" if seconds else "it said WATCHDOG=trigger"
    return Condemned(worker, generation, Doom.WATCHDOG, detail, at)


def _log_problem(worker: WorkerId, generation: int, at: float, m: Message) -> LogProblem:
    failure = LogFailure(m.get("problem", LogFailure.DATA))
    return LogProblem(worker, os.fsdecode(m["path"]), m["errno"], m["dropped"], failure)


_ABOUT_WORKERS: Mapping[str, Any] = {
    "executing": lambda worker, generation, at, m: Executing(worker, generation, m["pid"], at),
    "log_trouble": _log_problem,
    "reported": lambda worker, generation, at, m: Reported(worker, _report(m)),
    "probed": lambda worker, generation, at, m: Probed(worker, generation, _probe_outcome(m), m["output"]),
    "ready": lambda worker, generation, at, m: BecameReady(worker, generation, at),
    "watchdog_expired": _silent,
    "stuck": lambda worker, generation, at, m: Stuck(worker, generation, m["what"], at),
    "spawn_failed": lambda worker, generation, at, m: SpawnFailed(worker, generation, _failure(m["failure"]), at),
    "stopping": lambda worker, generation, at, m: StopSignalled(worker, generation, _seconds(m["deadline"]), at),
    "exited": lambda worker, generation, at, m: Exited(worker, generation, _status(m["status"]), at),
    "gone": lambda worker, generation, at, m: Gone(worker, generation, m["killed"], at),
    "refused": lambda worker, generation, at, m: Refused(worker, generation, m["why"], at),
}
