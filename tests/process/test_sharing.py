"""Queues that share a budget, under `procq up`: a lower priority makes room for a higher one between two jobs."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.process.support.fixtures import Procqs
from tests.process.support.keeper import WORKERS
from tests.process.support.waiting import until
from tests.process.test_speaking import entries, jobs

pytestmark = pytest.mark.process
MANY = 80


def queue(folder: Path, priority: int) -> str:
    command = f"{sys.executable} -I {WORKERS / 'loop.py'} {folder}"
    scaled = f"    workers: 0..3\n    source: file:{folder}?pattern=*.job\n    scale:\n      wait: 1s\n"
    return (
        f"  {folder.name}:\n    command: {command}\n    ready: notify\n{scaled}    share:\n      priority: {priority}\n"
    )


def test_a_full_queue_makes_room_for_a_higher_priority_and_loses_no_job(procqs: Procqs, tmp_path: Path) -> None:
    low, high = tmp_path / "low", tmp_path / "high"
    low.mkdir()
    high.mkdir()
    budget = "host:\n  budget:\n    workers: 3\n"
    procq = procqs(f"{budget}queues:\n{queue(low, 0)}{queue(high, 5)}").start(0)
    jobs(low, *[0.4] * MANY)
    until(lambda: procq.queue("low").busy == 3, "all of the budget at work", 30)
    jobs(high, *[0.1] * 4)
    until(lambda: len(entries(high, "done")) == 4, "the jobs of the higher priority", 30)
    assert len(entries(low, "done")) < MANY, "they have not waited for the end of the others"
    until(lambda: len(entries(low, "done")) == MANY, "the others", 60)
    assert Counter(entries(low, "began")) == Counter(entries(low, "done"))
