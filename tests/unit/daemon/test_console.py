"""Lines about workers: what a worker leaves behind is not told of its successor."""

from __future__ import annotations

from procq.daemon.console import Console
from procq.endings import ExitStatus
from procq.events import Event, Exited, Forgotten, SpawnRequested
from procq.lives import Life
from procq.model import LogPolicy, StopPolicy
from procq.state import Settings
from tests.queues import EMAILS_1

SETTINGS = Settings(StopPolicy(), LogPolicy())


def test_the_end_of_a_forgotten_worker_is_not_told_of_the_next() -> None:
    console = Console(13, False)
    events: list[Event] = [
        Exited(EMAILS_1, 1, ExitStatus(1), 10.0),
        Forgotten(EMAILS_1, 1, 10.0, "the queue wants fewer workers"),
        SpawnRequested(EMAILS_1, 2, "f", SETTINGS, 20.0, "the queue wants it"),
    ]
    assert [line for event in events for line in console.happened(event, Life(3.0))] == []
