"""Dataclasses to messages and back, at the edge to the keeper."""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from procq.engine.blob import cut
from procq.engine.local import LocalKeeper
from procq.engine.port import (
    Announce,
    AnswerPing,
    Command,
    ConfigureWorker,
    DeclareReady,
    ForgetWorker,
    MarkWorkerReady,
    ProbeWorker,
    SaveIntent,
    ShutDown,
    SpawnWorker,
    StopWorker,
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
from procq.model import (
    Limit,
    Limits,
    LogFormat,
    LogLine,
    LogPolicy,
    Queue,
    Readiness,
    StopPolicy,
    StopTo,
    User,
    WhenFull,
)
from procq.state import (
    Doom,
    Draining,
    End,
    Ended,
    ExitStatus,
    Report,
    Running,
    Settings,
    SpawnFailure,
    Starting,
    Stopping,
)
from tests.queues import EMAILS_1, EMAILS_2

Message = dict[str, Any]
WELCOME = {"t": "welcome", "version": 1, "epoch": 2, "instance": 0xBEEF, "last_generation": 7, "shutting_down": False}


class FakeLink:
    """A link whose other end is the test."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, Any]] = []
        self.arrived: list[Message] = []
        self.closed = False

    def fileno(self) -> int:
        return 99

    def send(self, messages: Sequence[Mapping[str, Any]]) -> None:
        self.sent.extend(messages)

    def drain(self) -> list[Message]:
        messages, self.arrived = self.arrived, []
        return messages

    def close(self) -> None:
        self.closed = True


def sent(*commands: Command, environ: dict[bytes, bytes] | None = None) -> list[Mapping[str, Any]]:
    link = FakeLink()
    keeper = LocalKeeper(link, environ or {})
    link.arrived.append(WELCOME)
    keeper.receive()
    link.sent.clear()
    keeper.send(commands)
    return link.sent


def received(*messages: Message) -> list[KeeperEvent]:
    link = FakeLink()
    keeper = LocalKeeper(link, {})
    link.arrived.extend(messages)
    return keeper.receive()


def test_it_says_hello_first() -> None:
    link = FakeLink()
    keeper = LocalKeeper(link, {})
    assert link.sent == [{"t": "hello", "oldest": 1, "newest": 1}]
    assert keeper.fileno() == 99
    keeper.close()
    assert link.closed


PLAIN_FILE = {"block": False, "rotate_every": None, "compress": False, "total": None}
UNSAID = {"ready": "spawned", "ready_line": None, "memory": None, "pids": None}
QUEUE = Queue(
    "emails",
    "work",
    ("work", "\udcff"),
    directory="/srv",
    env={"A": "1"},
    stop=StopPolicy(2, 1.5),
    logs=LogPolicy("/log/{queue}/{slot}.log"),
)


def test_spawn() -> None:
    (message,) = sent(
        SpawnWorker(EMAILS_2, 8, QUEUE, "f", "shop"), environ={b"A": b"0", b"B": b"2", b"PROCQ_SLOT": b"9"}
    )
    env = message["env"]
    assert message == {
        "t": "spawn",
        "worker": "emails.2",
        "generation": 8,
        "fingerprint": "f",
        "argv": [b"work", b"\xff"],
        "env": env,
        "directory": b"/srv",
        "umask": None,
        "nice": None,
        "user": None,
        "limits": [],
        "tty": False,
        "stop": {"signal": 2, "to": "leader", "grace": 1500},
        "wave": 0,
        "log": {"path": b"/log/emails/2.log", "format": "text", "rotate": None, "keep": 5, **PLAIN_FILE},
        "watchdog": None,
        **UNSAID,
    }
    assert sorted(env) == [
        b"A=1",
        b"B=2",
        b"PROCQ_GENERATION=8",
        b"PROCQ_INSTANCE=beef",
        b"PROCQ_PROJECT=shop",
        b"PROCQ_QUEUE=emails",
        b"PROCQ_SLOT=2",
        b"PROCQ_WORKER_ID=emails.2",
        b"PYTHONUNBUFFERED=1",
    ]


def test_a_spawn_in_other_surroundings() -> None:
    logs = LogPolicy("/w", rotate=1000, keep=2, format=LogFormat.JSON, full=WhenFull.BLOCK)
    queue = replace(
        QUEUE,
        user=User("shop", 1001, 1002, (27, 1002)),
        umask=0o27,
        nice=5,
        rlimits={"nofile": Limit(1024, None)},
        tty=True,
        wave=2,
        stop=StopPolicy(to=StopTo.GROUP),
        logs=logs,
    )
    (message,) = sent(SpawnWorker(EMAILS_2, 8, queue, "f", "shop"))
    assert message["user"] == {"uid": 1001, "gid": 1002, "groups": [27, 1002]}
    assert (message["umask"], message["nice"], message["tty"], message["wave"]) == (0o27, 5, True, 2)
    assert message["limits"] == [{"resource": resource.RLIMIT_NOFILE, "soft": 1024, "hard": 2**64 - 1}]
    assert message["stop"] == {"signal": 15, "to": "group", "grace": 10_000}
    assert message["log"] == {"path": b"/w", "format": "json", "rotate": 1000, "keep": 2, **PLAIN_FILE, "block": True}


@pytest.mark.parametrize(("rotate", "sent_size"), [(None, 250_000_000), (1000, 1000)])
def test_with_a_total_alone_files_are_closed_at_a_quarter_of_it(rotate: int | None, sent_size: int) -> None:
    queue = replace(QUEUE, logs=LogPolicy("/w", rotate=rotate, total=10**9))
    (message,) = sent(SpawnWorker(EMAILS_2, 8, queue, "f", "shop"))
    assert (message["log"]["rotate"], message["log"]["total"]) == (sent_size, 10**9)


def test_what_makes_a_worker_ready_and_what_it_may_use() -> None:
    logs = LogPolicy("/w", rotate_every=3600.0, compress=True, total=10**9)
    limits = Limits(memory=2**29, pids=100)
    queue = replace(QUEUE, ready=Readiness(LogLine("^up")), watchdog=1.5, limits=limits, logs=logs)
    (message,) = sent(SpawnWorker(EMAILS_2, 8, queue, "f", "shop"))
    assert (message["ready"], message["ready_line"], message["watchdog"]) == ("line", "^up", 1500)
    assert (message["memory"], message["pids"]) == (2**29, 100)
    assert {key: message["log"][key] for key in PLAIN_FILE} == {
        "block": False,
        "rotate_every": 3_600_000,
        "compress": True,
        "total": 10**9,
    }


def test_a_probe_runs_as_its_workers_do() -> None:
    queue = replace(QUEUE, user=SHOP, rlimits={"nofile": Limit(64, 64)}, umask=0o27)
    worker, probe = sent(
        SpawnWorker(EMAILS_2, 8, queue, "f", "shop"), ProbeWorker(EMAILS_2, 9, queue, ("look", "\udcff"), 2.5, "shop")
    )
    assert (probe["t"], probe["worker"], probe["generation"]) == ("spawn", "emails.2/health", 9)
    assert (probe["argv"], probe["probe"]) == ([b"look", b"\xff"], 2500)
    assert {key: probe[key] for key in ("user", "limits", "umask", "nice", "directory")} == {
        key: worker[key] for key in ("user", "limits", "umask", "nice", "directory")
    }
    assert b"PROCQ_GENERATION=9" in probe["env"]
    assert "log" not in probe


def test_a_chosen_buffering_is_kept() -> None:
    (message,) = sent(SpawnWorker(EMAILS_1, 8, QUEUE, "f", "shop"), environ={b"PYTHONUNBUFFERED": b""})
    assert b"PYTHONUNBUFFERED=" in message["env"]


ROOTS = {b"HOME": b"/root", b"USER": b"root", b"LOGNAME": b"root", b"SHELL": b"/bin/sh", b"PATH": b"/bin"}
SHOP = User("shop", 1000, 1000, home="/home/sh\udcfcp", shell="/bin/zsh")


def test_who_runs_as_a_user_finds_himself_in_his_environment() -> None:
    queue = Queue("emails", "work", ("work",), user=SHOP)
    environ = {**ROOTS, b"XDG_RUNTIME_DIR": b"/run/user/0"}
    (message,) = sent(SpawnWorker(EMAILS_1, 8, queue, "f", "shop"), environ=environ)
    variables = dict(variable.split(b"=", 1) for variable in message["env"])
    assert {name: variables[name] for name in ROOTS} == {
        b"HOME": b"/home/sh\xfcp",
        b"USER": b"shop",
        b"LOGNAME": b"shop",
        b"SHELL": b"/bin/zsh",
        b"PATH": b"/bin",
    }
    assert b"XDG_RUNTIME_DIR" not in variables


def test_the_queue_s_own_words_about_its_user_stand() -> None:
    queue = Queue("emails", "work", ("work",), user=SHOP, env={"HOME": "/srv", "USER": ""})
    (message,) = sent(SpawnWorker(EMAILS_1, 8, queue, "f", "shop"), environ=ROOTS)
    assert {b"HOME=/srv", b"USER=", b"LOGNAME=shop"} <= set(message["env"])
    assert not {b"HOME=/root", b"USER=root", b"USER=shop"} & set(message["env"])


def test_without_a_user_the_environment_is_procq_s() -> None:
    (message,) = sent(SpawnWorker(EMAILS_1, 8, QUEUE, "f", "shop"), environ=ROOTS)
    assert {b"HOME=/root", b"USER=root"} <= set(message["env"])


def test_an_edited_queue_gets_a_new_environment() -> None:
    edited = Queue("emails", "work", ("work",), env={"A": "2"})
    first, second = sent(SpawnWorker(EMAILS_1, 8, QUEUE, "f", "shop"), SpawnWorker(EMAILS_1, 9, edited, "g", "shop"))
    assert b"A=1" in first["env"]
    assert b"A=2" in second["env"]
    assert second["log"] is None


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (StopWorker(EMAILS_1, 8), {"t": "stop", "worker": "emails.1", "generation": 8}),
        (ForgetWorker(EMAILS_1, 8), {"t": "forget", "worker": "emails.1", "generation": 8}),
        (
            ConfigureWorker(EMAILS_1, 8, Settings(StopPolicy(15, 2.0), LogPolicy("/{slot}"))),
            {
                "t": "configure",
                "worker": "emails.1",
                "generation": 8,
                "stop": {"signal": 15, "to": "leader", "grace": 2000},
                "wave": 0,
                "log": {"path": b"/1", "format": "text", "rotate": None, "keep": 5, **PLAIN_FILE},
                **UNSAID,
            },
        ),
        (MarkWorkerReady(EMAILS_1, 8), {"t": "mark_ready", "worker": "emails.1", "generation": 8}),
        (Announce(("a", "b")), {"t": "console", "lines": ["a", "b"]}),
        (DeclareReady(), {"t": "ready"}),
        (AnswerPing(3), {"t": "pong", "n": 3}),
        (ShutDown("x", True, 4), {"t": "shutdown", "reason": "x", "fast": True, "exit_code": 4}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_commands(command: Command, message: Message) -> None:
    assert sent(command) == [message]


def test_the_memory_travels_in_parts() -> None:
    parts = sent(SaveIntent(bytes(1_200_000)))
    assert [(p["t"], p["part"], p["parts"], len(p["data"])) for p in parts] == [
        ("blob", 0, 3, 524_288),
        ("blob", 1, 3, 524_288),
        ("blob", 2, 3, 151_424),
    ]


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
            Reported(EMAILS_1, Report(8, "s", 4, None, 1, "5 a", 2.0)),
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


def test_a_worker_that_no_frame_can_carry_is_refused() -> None:
    """The link takes a mebibyte; what does not fit must not end the conversation."""
    link = FakeLink()
    keeper = LocalKeeper(link, {b"LARGE": b"x" * 900_000})
    large = Queue("emails", "work", ("work",), env={"A": "x" * 200_000})
    keeper.send([SpawnWorker(EMAILS_1, 8, large, "f", "shop"), SpawnWorker(EMAILS_2, 9, QUEUE, "f", "shop")])
    _, first, second = link.sent
    assert sum(map(len, first["env"])) + sum(map(len, first["argv"])) == 0
    assert (first["generation"], second["generation"]) == (8, 9)
    assert second["argv"] != []
    link.arrived.append({"t": "refused", "worker": "emails.1", "generation": 8, "why": "the command is empty"})
    (refused,) = keeper.receive()
    assert isinstance(refused, Refused)
    assert refused.generation == 8
    assert refused.why.startswith("command and environment take 1100")
