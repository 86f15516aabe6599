"""Workers that say what they do, under `procq up`: they leave between jobs, idle ones first; pause and resume."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.process.support.fixtures import Procqs
from tests.process.support.keeper import WORKERS
from tests.process.support.project import Procq
from tests.process.support.waiting import throughout, until

pytestmark = pytest.mark.process


def manifest(folder: Path, workers: int, more: str = "") -> str:
    command = f"{sys.executable} -I {WORKERS / 'loop.py'} {folder}"
    return f"queues:\n  a:\n    command: {command}\n    workers: {workers}\n    ready: notify\n{more}"


def jobs(folder: Path, *seconds: float) -> None:
    known = len(entries(folder, "began")) + len(list(folder.glob("*.job")))
    for number, takes in enumerate(seconds, known + 1):
        path = folder / f"{number}.tmp"
        path.write_text(str(takes))
        path.rename(folder / f"{number}.job")


def entries(folder: Path, word: str) -> list[tuple[str, str]]:
    """Jobs, and the workers that had them."""
    ledger = folder / "ledger"
    lines = [line.split() for line in ledger.read_text().splitlines()] if ledger.exists() else []
    return [(line[1], line[2]) for line in lines if line[0] == word]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "spool"
    made.mkdir()
    return made


def in_hand(procq: Procq, number: int) -> None:
    until(lambda: procq.queue("a").busy == number, f"{number} jobs in hand")


def test_faults_57_idle_workers_leave_first_and_a_busy_one_when_its_job_is_done(procqs: Procqs, folder: Path) -> None:
    procq = procqs(manifest(folder, 3)).start(3)
    jobs(folder, 4.0)
    in_hand(procq, 1)
    ((_, busy),) = entries(folder, "began")
    procq.command("scale", "a=1")
    assert set(procq.wait_running(1)) == {busy}
    procq.command("scale", "a=0")
    (worker,) = [each for each in procq.status().workers if each.id == busy]
    assert worker.detail is not None and worker.detail.startswith("finishing 1 file for "), worker
    until(lambda: not procq.workers(), "its end", 10)
    assert entries(folder, "done") == [("1", busy)]
    assert "SIG" not in procq.command("events").partition("scaled to 1")[2]


def test_a_roll_out_loses_no_job_and_interrupts_none(procqs: Procqs, folder: Path) -> None:
    procq = procqs(manifest(folder, 3)).start(3)
    jobs(folder, *[0.1] * 60)
    until(lambda: len(entries(folder, "done")) > 5, "the first jobs")
    procq.save(manifest(folder, 3, "    env:\n      X: 1\n    update:\n      pause: 0s\n"))
    until(lambda: len(entries(folder, "done")) == 60, "all jobs", 30)
    until(lambda: procq.queue("a").state == "steady", "the end of the roll-out", 30)
    assert Counter(entries(folder, "began")) == Counter(entries(folder, "done"))
    until(lambda: procq.queue("a").jobs == 60, "all to be told, those of the former workers included")
    queue = procq.queue("a")
    assert (queue.jobs_failed, sum(queue.job_durations)) == (0, 60)
    assert min(each.generation or 0 for each in procq.status().workers) > 3


def test_pause_and_resume(procqs: Procqs, folder: Path) -> None:
    procq = procqs(manifest(folder, 2)).start(2)
    jobs(folder, 1.0)
    in_hand(procq, 1)
    said = procq.command("pause", "a")
    assert "2 workers paused" in said and len(entries(folder, "done")) == 1, "it has waited for the job in hand"
    assert "a is paused and takes no jobs: `procq resume a`" in procq.command("status")
    jobs(folder, 0.0)
    throughout(0.5, lambda: len(entries(folder, "began")) == 1, "no job is begun")
    # Over another control plane, and for workers that come.
    procq.kill_control_plane()
    until(procq.ready, "another control plane")
    procq.command("scale", "a=3")
    procq.wait_running(3)
    throughout(0.5, lambda: len(entries(folder, "began")) == 1, "no job is begun")
    assert "3 workers resumed" in procq.command("resume", "a")
    until(lambda: len(entries(folder, "done")) == 2, "the job")
    until(lambda: procq.queue("a").jobs == 2, "both to be told")


def test_one_worker_is_paused(procqs: Procqs, folder: Path) -> None:
    procq = procqs(manifest(folder, 2)).start(2)
    procq.command("pause", "a.1")
    jobs(folder, *[0.0] * 10)
    until(lambda: len(entries(folder, "done")) == 10, "the jobs")
    assert {worker for _, worker in entries(folder, "done")} == {"a.2"}
    procq.command("resume", "a.1")


def test_who_says_nothing_cannot_be_paused(procqs: Procqs) -> None:
    procq = procqs("queues:\n  a:\n    command: sleep 1000\n    workers: 2\n").start(2)
    said = procq.command("pause", "a", code=1)
    assert "a.1 and a.2 do not say what they do, and cannot be told" in said
    procq.command("resume", "a", code=1)


def test_the_status_tells_of_jobs(procqs: Procqs, folder: Path) -> None:
    procq = procqs(manifest(folder, 2)).start(2)
    jobs(folder, 30.0, 0.0, 0.0)
    until(lambda: procq.queue("a").jobs == 2, "two jobs")
    lines = procq.command("status").splitlines()
    row = next(re.split(" {3,}", line) for line in lines if line.startswith("a "))
    assert (row[3], row[6].partition(" ")[0]) == ("2", "1")
    (worker,) = [each for each in procq.status().workers if each.busy]
    assert worker.job == "1 file" and worker.job_for is not None
    assert "1 file for " in procq.command("status", worker.id)
    document = json.loads(procq.command("status", "--json"))
    assert document["queues"][0]["job_seconds"] < 1.0


def test_a_worker_past_its_jobs_limit_leaves_between_two(procqs: Procqs, folder: Path) -> None:
    procq = procqs(manifest(folder, 1, "    limits:\n      jobs: 3\n")).start(1)
    jobs(folder, *[0.5] * 12)
    until(lambda: len(entries(folder, "done")) == 12, "all jobs", 30)
    assert Counter(entries(folder, "began")) == Counter(entries(folder, "done"))
    assert max(each.generation or 0 for each in procq.status().workers) > 2
