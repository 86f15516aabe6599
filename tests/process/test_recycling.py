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
WORKING = HUNGRY.with_name("working.py")


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


@pytest.mark.parametrize(
    ("how", "limit", "told"),
    [
        pytest.param("jobs", "jobs: 30", "jobs done, 30 allowed", id="jobs"),
        pytest.param("threads", "pids: 10", "21 processes and threads, 10 allowed", id="pids"),
        pytest.param("busy", "cpu: 20%", "of a processor over 1m, 20% allowed", id="cpu", marks=pytest.mark.soak),
    ],
)
def test_who_reaches_a_limit_is_asked_to_leave_and_replaced(procqs: Procqs, how: str, limit: str, told: str) -> None:
    manifest = f"queues:\n  w:\n    command: {sys.executable} {WORKING} {how}\n    limits:\n      {limit}\n"
    procq = procqs(manifest).start(1)
    before = procq.workers()["w.1"].pid
    until(lambda: (now := procq.workers().get("w.1")) and now.pid != before, "another one", 100)
    assert told in events(procq, "condemned")[0].text
    assert (procq.folder / "left").read_text().split()[0] == str(before), "asked to leave, not killed"
    assert procq.queue("w").restarts == 0, "no failure"


def test_whose_job_takes_too_long_is_stopped_and_the_job_is_named(procqs: Procqs) -> None:
    manifest = f"queues:\n  w:\n    command: {sys.executable} {WORKING} job\n    limits:\n      job_timeout: 1s\n"
    procq = procqs(manifest).start(1)
    before = procq.workers()["w.1"].pid
    until(lambda: (now := procq.workers().get("w.1")) and now.pid != before, "another one")
    assert "job timeout: job 17 thumbnail has taken more than 1s" in events(procq, "condemned")[0].text
    assert procq.queue("w").restarts >= 1
