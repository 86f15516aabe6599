"""What `procq up -v` and `--debug` tell."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

from procq.daemon.options import Options, parse
from procq.daemon.tracing import Lines, Overheard
from procq.endings import ExitStatus
from procq.engine.port import Announce, AnswerPing, Command, SaveIntent, SpawnWorker, StopWorker
from procq.events import (
    Exited,
    Forgotten,
    KeeperEvent,
    Pinged,
    Reported,
    Rescaled,
    SpawnRequested,
    StopRequested,
    StopSignalled,
)
from procq.model import LogPolicy, StopPolicy
from procq.state import Report, Settings
from tests.queues import EMAILS_1, queue

LINES = Lines(13, False, lambda: 100.0)


def said(announced: Sequence[Command]) -> list[str]:
    return [line for each in announced if isinstance(each, Announce) for line in each.lines]


class Heard:
    """A keeper that says `events` and notes what it is told."""

    def __init__(self, *events: KeeperEvent) -> None:
        self.events, self.sent = list(events), list[Command]()

    def fileno(self) -> int:
        return 7

    def receive(self) -> list[KeeperEvent]:
        return self.events

    def send(self, commands: Sequence[Command]) -> None:
        self.sent += commands


def test_decisions_are_told_with_their_reasons() -> None:
    settings = Settings(StopPolicy(), LogPolicy())
    told = [
        LINES.decision(event)
        for event in (
            SpawnRequested(EMAILS_1, 4, "f", settings, 100.0, "it ended"),
            StopRequested(EMAILS_1, 4, 110.0, 100.0, "somebody stopped it"),
            StopSignalled(EMAILS_1, 4, 110.0, 100.0),
            Exited(EMAILS_1, 4, ExitStatus(-15), 101.0),
            Forgotten(EMAILS_1, 4, 101.0, "not wanted any more"),
            Rescaled("emails", 2, 5, 100.0, "12 jobs wait"),
            Pinged(3),
        )
    ]
    assert told == [
        "spawn emails.1 (4): it ended",
        "stop emails.1 (4) within 10 s: somebody stopped it",
        "emails.1 (4) has its stop signal, SIGKILL in 10 s",
        "emails.1 (4) has ended: SIGTERM",
        "forget emails.1 (4): not wanted any more",
        "scale emails 2 → 5: 12 jobs wait",
        None,
    ]


def test_each_message_is_told_but_not_what_is_secret_or_said_here() -> None:
    keeper = Heard(Pinged(1), Reported(EMAILS_1, Report(4)), Exited(EMAILS_1, 4, ExitStatus(1), 99.5))
    overheard = Overheard(keeper, LINES)
    emails = replace(queue("emails"), env={"TOKEN": "canary"})
    commands: list[Command] = [
        SpawnWorker(EMAILS_1, 4, emails, "f", "shop"),
        AnswerPing(1),
        Announce(("a line",)),
        SaveIntent(b"canary"),
        StopWorker(EMAILS_1, 4),
    ]
    overheard.send(commands)
    assert [each for each in keeper.sent if each in commands] == commands
    assert overheard.receive() == keeper.events
    assert overheard.fileno() == 7
    assert said([each for each in keeper.sent if each not in commands]) == [
        "procq         · → SpawnWorker worker=emails.1 generation=4 queue=<Queue> fingerprint=f project=shop "
        "parked=False",
        "procq         · → SaveIntent data=<6>",
        "procq         · → StopWorker worker=emails.1 generation=4",
        "procq         · ← Reported worker=emails.1 report=<Report>",
        "procq         · ← Exited worker=emails.1 generation=4 status=exit code 1 at=-0.500s",
    ]


def test_a_flood_is_cut() -> None:
    lines = said(LINES.of(f"{n} {'x' * 9_000}" for n in range(10_000)))
    assert len(lines) == 200
    assert lines[-1].endswith("and 9801 lines more")
    assert max(map(len, lines)) < 500
    assert LINES.of(iter(())) == []


def test_the_option_reaches_the_control_plane() -> None:
    from pathlib import Path

    for verbose in (0, 1, 2):
        options = Options(Path("/p"), "", 1.0, 13, False, verbose=verbose)
        assert parse(["--link-fd=3", "--api-fd=4", *options.arguments()]).verbose == verbose
    assert not any("verbose" in each for each in Options(Path("/p"), "", 1.0, 13, False).arguments())


def test_nothing_is_loaded_where_it_is_not_wanted() -> None:
    code = (
        "import sys, procq.daemon.__main__; sys.exit('procq.daemon.tracing' in sys.modules or 'sqlite3' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
