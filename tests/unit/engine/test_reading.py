"""What the keeper says, as events."""

from __future__ import annotations

import pytest

from procq.endings import Doom, End, ExitStatus, SpawnFailure
from procq.engine.blob import cut
from procq.engine.port import (
    Announce,
    ShutDown,
)
from procq.events import (
    Attached,
    BecameReady,
    Condemned,
    Executing,
    Exited,
    Gap,
    Gone,
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
)
from procq.state import Draining, Ended, Jobs, Report, Running, Starting, Stopping
from tests.queues import EMAILS_1, EMAILS_2
from tests.unit.engine.fakes import WELCOME, Message, received, sent

FAILURE = {"stage": "exec", "errno": 2, "path": b"work", "transient": False}


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (WELCOME, Attached(2, 0xBEEF, 7, False)),
        ({"t": "incompatible", "oldest": 3, "newest": 4}, Incompatible(3, 4)),
        ({"t": "gap"}, Gap()),
        ({"t": "executing", "pid": 5}, Executing(EMAILS_1, 8, 5, 2.5)),
        (
            {"t": "spawn_failed", "failure": FAILURE},
            SpawnFailed(EMAILS_1, 8, SpawnFailure("exec", 2, "work", False), 2.5),
        ),
        ({"t": "stopping", "deadline": 4_000_000_000}, StopSignalled(EMAILS_1, 8, 4.0, 2.5)),
        ({"t": "exited", "status": {"code": 3, "signal": None}}, Exited(EMAILS_1, 8, ExitStatus(3), 2.5)),
        ({"t": "exited", "status": {"code": None, "signal": 9}}, Exited(EMAILS_1, 8, ExitStatus(-9), 2.5)),
        (
            {"t": "exited", "status": {"code": None, "signal": 9, "oom": True}},
            Exited(EMAILS_1, 8, ExitStatus(-9, True), 2.5),
        ),
        ({"t": "ready"}, BecameReady(EMAILS_1, 8, 2.5)),
        (
            {"t": "watchdog_expired", "silence": 1500},
            Condemned(EMAILS_1, 8, Doom.WATCHDOG, "no WATCHDOG=1 for 1.5s", 2.5),
        ),
        (
            {"t": "watchdog_expired", "silence": 0},
            Condemned(EMAILS_1, 8, Doom.WATCHDOG, "it said WATCHDOG=trigger", 2.5),
        ),
        ({"t": "stuck", "what": "pid 5 (dd) D"}, Stuck(EMAILS_1, 8, "pid 5 (dd) D", 2.5)),
        (
            {
                "t": "reported",
                "status": "s",
                "jobs": 4,
                "failed": None,
                "busy": 1,
                "job": "5 a",
                "since": 2_000_000_000,
            },
            Reported(EMAILS_1, Report(8, "s", Jobs(4), 1, "5 a", 2.0)),
        ),
        (
            {"t": "probed", "status": None, "failure": None, "timed_out": True, "output": "x"},
            Probed(EMAILS_1, 8, None, "x"),
        ),
        (
            {"t": "probed", "status": None, "failure": FAILURE, "timed_out": False, "output": ""},
            Probed(EMAILS_1, 8, SpawnFailure("exec", 2, "work", False), ""),
        ),
        (
            {"t": "probed", "status": {"code": 1, "signal": None}, "failure": None, "timed_out": False, "output": ""},
            Probed(EMAILS_1, 8, ExitStatus(1), ""),
        ),
        ({"t": "gone", "killed": 2}, Gone(EMAILS_1, 8, 2, 2.5)),
        ({"t": "stray", "pid": 5, "name": "sh"}, Stray(5, "sh")),
        ({"t": "log_trouble", "path": b"/x", "errno": 28, "dropped": 7}, LogProblem(EMAILS_1, "/x", 28, 7)),
        ({"t": "ping", "n": 3}, Pinged(3)),
        ({"t": "reload"}, ReloadAsked()),
        ({"t": "shutting_down", "reason": "x", "fast": True}, ShuttingDown("x", True)),
    ],
    ids=lambda value: value["t"] if isinstance(value, dict) else "",
)
def test_events(message: Message, event: KeeperEvent) -> None:
    assert received({"worker": "emails.1", "generation": 8, "at": 2_500_000_000} | message) == [event]


def test_a_refusal_happens_when_the_last_event_did() -> None:
    refused = {"t": "refused", "worker": "emails.1", "generation": 8, "why": "full"}
    gone = {"t": "gone", "worker": "emails.2", "generation": 7, "killed": 0, "at": 3_000_000_000}
    assert received(gone, refused)[1] == Refused(EMAILS_1, 8, "full", 3.0)


def record(phase: str, **more: object) -> Message:
    return {
        "worker": "emails.1",
        "generation": 8,
        "fingerprint": "f",
        "phase": phase,
        "pid": 5,
        "at": 1_000_000_000,
        "deadline": None,
        "stop": {"signal": 15, "grace": 10_000},
        "status": None,
        "failure": None,
        "ended": None,
    } | more


@pytest.mark.parametrize(
    ("item", "state"),
    [
        (record("starting"), Starting(8, "f", 1.0, None)),
        (record("running"), Running(8, "f", 5, 1.0, None)),
        (record("running", ready=1_500_000_000), Running(8, "f", 5, 1.0, None, ready=1.5)),
        (
            record("stopping", deadline=9_000_000_000),
            Stopping(8, "f", 5, 1.0, 9.0, "asked before this control plane"),
        ),
        (
            record("draining", status={"code": 0, "signal": None}, ended=2_000_000_000),
            Draining(8, "f", End(ExitStatus(0), 1.0, 2.0)),
        ),
        (
            record("gone", status={"code": 1, "signal": None}, ended=2_000_000_000, asked=True),
            Ended(8, "f", End(ExitStatus(1), 1.0, 2.0, asked=True)),
        ),
        (
            record("starting", failure=FAILURE, ended=2_000_000_000),
            Draining(8, "f", End(SpawnFailure("exec", 2, "work", False), 1.0, 2.0)),
        ),
        (
            record("gone", failure=FAILURE, ended=2_000_000_000),
            Ended(8, "f", End(SpawnFailure("exec", 2, "work", False), 1.0, 2.0)),
        ),
    ],
    ids=lambda value: value["phase"] if isinstance(value, dict) else "",
)
def test_a_snapshot_is_joined(item: Message, state: object) -> None:
    other = record("running", worker="emails.2")
    events = received(
        WELCOME,
        {"t": "workers", "items": [item]},
        {"t": "workers", "items": [other]},
        {"t": "snapshot_end", "at": 9_000_000_000, "last_generation": 8},
    )
    assert events[1:] == [Snapshot(((EMAILS_1, state), (EMAILS_2, Running(8, "f", 5, 1.0, None))), 9.0, 8)]  # type: ignore[arg-type]


def test_the_memory_comes_back_before_the_snapshot() -> None:
    parts = [
        {"t": "blob", "part": p.part, "parts": p.parts, "crc": p.crc, "data": p.data} for p in cut(b"0123456789", 4)
    ]
    end = {"t": "snapshot_end", "at": 9_000_000_000, "last_generation": 8}
    assert received(WELCOME, *parts, end)[1:] == [Recovered(b"0123456789"), Snapshot((), 9.0, 8)]
    assert received(WELCOME, *parts[1:], end)[1] == Recovered(None)


def test_a_newer_keeper_is_survived() -> None:
    assert received({"t": "song", "verse": 3}, {"t": "unknown"}) == []


def test_garbage_is_an_error() -> None:
    with pytest.raises(ValueError, match="'exited' message without 'status'"):
        received({"t": "exited", "worker": "emails.1", "generation": 8, "at": 1})
    with pytest.raises(ValueError, match="phase unknown here: 'asleep'"):
        received({"t": "workers", "items": [record("asleep")]})


def test_text_that_is_no_unicode_is_told_nevertheless() -> None:
    """The name of a file need not be UTF-8, and what is said about it must not end the conversation."""
    (message,) = sent(Announce(("caf\udce9.yaml", "x" * 10_000)))
    assert message["lines"] == ["caf?.yaml", "x" * 4095 + "…"]
    (message,) = sent(ShutDown("\udce9"))
    assert message["reason"] == "?"
