"""Commands as messages to the keeper."""

from __future__ import annotations

import resource
from dataclasses import replace

import pytest

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
    Refused,
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
from procq.state import Settings
from tests.queues import EMAILS_1, EMAILS_2
from tests.unit.engine.fakes import FakeLink, Message, sent


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
        "parked": False,
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
