"""FAULTS 43: hundreds end in the same instant; each is told, each comes back, and not all in the same instant."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.process.support import processes
from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.waiting import until

pytestmark = pytest.mark.process

CROWD = 500
RATE = 100
TICKS = os.sysconf("SC_CLK_TCK")
IDLE = 0.1
"""Share of a core that keeper and control plane may use when nothing happens."""


def manifest(crowd: int = CROWD) -> str:
    return f"host:\n  starts: {RATE} in 1s\nqueues:\n  w:\n    command: sleep 1000\n    workers: {crowd}\n"


def crash_together(procq: Procq) -> None:
    """Kills every worker, and waits until each was told and has a successor."""
    before = procq.workers()
    assert len(before) == CROWD
    for worker in before.values():
        os.kill(worker.pid, signal.SIGKILL)
    until(lambda: not any(map(processes.is_the_same, before.values())), "the end of all")
    after = until(lambda: now if len(now := procq.workers()) == CROWD else None, "all to be back", 120) or {}
    assert not set(before.values()) & set(after.values())
    ends = [worker.last_exit for worker in procq.client.workers(["w"])]
    assert len([end for end in ends if end and end.startswith("SIGKILL")]) == CROWD
    starts = sorted(worker.started for worker in after.values())
    busiest = max(sum(start <= other < start + TICKS for other in starts) for start in starts)
    # They are counted where they are asked for, and seen where they happen: on a busy machine as much as two seconds
    # later. Without a rate all of them would be within one.
    assert busiest <= 3 * RATE, f"{busiest} starts within a second"
    assert (starts[-1] - starts[0]) / TICKS >= CROWD / RATE - 2, "no faster than it may be"


def idles(procq: Procq) -> bool:
    """Whether the next second costs next to nothing."""
    pids = (procq.info().pid, procq.control_plane())
    before = sum(map(processes.ticks, pids))
    time.sleep(1)
    return (sum(map(processes.ticks, pids)) - before) / TICKS <= IDLE


def test_faults_43_five_hundred_crash_at_once_and_come_back_at_the_rate_of_starts(procqs: Procqs) -> None:
    procq = procqs(manifest()).start()
    until(lambda: len(procq.workers()) == CROWD, "all of them", 120)
    crash_together(procq)
    until(lambda: idles(procq), "keeper and control plane to be idle again")
    assert processes.zombies_of(procq.info().pid) == []
