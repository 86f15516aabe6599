"""FAULTS 61: what procq does over and over again must cost it nothing for good."""

from __future__ import annotations

import pytest

from tests.process.support import processes
from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.trials import CI
from tests.process.support.waiting import until

pytestmark = pytest.mark.process

MANIFEST = "queues:\n  w:\n    command: sleep 1000\n"
ROUNDS = 5
GROWTH = 2_000_000
"""Bytes that a control plane may grow by in a run of this length: far less than its noise would add up to."""


def reload_many(procq: Procq, times: int) -> None:
    """Saves a manifest that says something else each time, and waits until each has been taken."""
    for n in range(times):
        workers = 1 + n % 2
        procq.replace(
            f"queues:\n  w:\n    command: sleep 1000\n    workers: {workers}\n    stop:\n      grace: {n + 1}s\n"
        )
        until(lambda workers=workers: procq.queue("w").desired == workers, "it to be taken")  # type: ignore[misc]


def descriptors(procq: Procq) -> list[int]:
    """Open ones of keeper and control plane."""
    return [sum(processes.descriptors(pid).values()) for pid in (procq.info().pid, procq.control_plane())]


def sizes(procq: Procq) -> tuple[int, int]:
    """Private bytes of keeper and control plane."""
    return processes.memory(procq.info().pid), processes.memory(procq.control_plane())


def test_faults_61_reloads_leave_memory_and_descriptors_as_they_were(procqs: Procqs) -> None:
    procq = procqs(MANIFEST).start(1)
    reload_many(procq, CI.reloads // ROUNDS)
    before, opened = sizes(procq), descriptors(procq)
    for _ in range(ROUNDS - 1):
        reload_many(procq, CI.reloads // ROUNDS)
        procq.wait_running(2)
        # A connection of ours may still be open on the other side for a moment.
        until(lambda: all(now <= then for now, then in zip(descriptors(procq), opened, strict=True)), "no more of them")
    assert all(now - then < GROWTH for then, now in zip(before, sizes(procq), strict=True))
