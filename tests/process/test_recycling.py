"""Who uses more than allowed is drained and replaced: real memory, real time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from procq import wire
from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.waiting import until

pytestmark = pytest.mark.process

HUNGRY = Path(__file__).parent / "workers" / "hungry.py"


def manifest(how: str, mib: int, limits: str, workers: int = 1) -> str:
    return f"""\
queues:
  hungry:
    command: {sys.executable} {HUNGRY} {how} {mib}
    workers: {workers}
    limits:
      {limits}
"""


def events(procq: Procq, kind: str) -> list[wire.EventView]:
    return [event for event in procq.client.events(0, follow=False) if event.kind == kind]


def test_who_leaks_is_drained_and_replaced(procqs: Procqs) -> None:
    procq = procqs(manifest("leak", 150, "memory: 100MiB", workers=2)).start(2)
    before = procq.workers()
    (procq.folder / "leak").touch()
    until(lambda: len(events(procq, "condemned")) >= 2, "both to be found out", 40)
    (procq.folder / "leak").unlink()
    until(
        lambda: (
            {w: s.pid for w, s in procq.workers().items()}.keys() == before.keys()
            and all(stat.pid != before[worker].pid for worker, stat in procq.workers().items())
        ),
        lambda: f"others: {procq.status()}",
        40,
    )
    text = events(procq, "condemned")[0].text
    assert "MiB of memory, 100MiB allowed" in text
    left = (procq.folder / "left").read_text()
    assert all(str(stat.pid) in left for stat in before.values()), "asked to leave, not killed"
    assert events(procq, "killed") == []


def test_who_reaches_its_age_is_replaced_without_a_failure(procqs: Procqs) -> None:
    procq = procqs(manifest("leak", 1, "age: 2s", workers=2)).start(2)
    before = procq.workers()
    until(
        lambda: len(now := procq.workers()) == 2 and all(now[worker].pid != before[worker].pid for worker in now),
        "both to be replaced",
    )
    texts = " ".join(event.text for event in procq.client.events(0, follow=False))
    assert "age limit" in texts
    assert "failure" not in texts
