"""Rates of processor time: since the start, since the last look, and over a change of the process."""

from __future__ import annotations

from collections.abc import Sequence

from procq.meter import Load, Meter, Used
from procq.state import QueueState, Running
from tests.queues import EMAILS_1


class Kernel:
    """What each pid has used so far: seconds, bytes, processes, threads."""

    def __init__(self) -> None:
        self.used: dict[int, Used] = {}

    def read(self, roots: Sequence[tuple[int, int]]) -> list[Used]:
        return [self.used.get(pid, (0.0, 0, 0, 0)) for pid, _ in roots]


def running(pid: int, since: float) -> dict[str, QueueState]:
    return {"emails": QueueState({1: Running(1, "f", pid, since, None)})}


def test_the_first_look_is_a_mean_since_the_start() -> None:
    kernel = Kernel()
    kernel.used[7] = (30.0, 4096, 2, 1)
    assert Meter(kernel.read).measure(running(7, since=100.0), now=160.0) == {EMAILS_1: Load(0.5, 4096, 30.0)}


def test_the_next_look_is_a_mean_since_the_last() -> None:
    kernel = Kernel()
    meter = Meter(kernel.read)
    kernel.used[7] = (30.0, 4096, 2, 1)
    meter.measure(running(7, 100.0), now=160.0)
    kernel.used[7] = (34.0, 8192, 2, 1)
    assert meter.measure(running(7, 100.0), now=162.0) == {EMAILS_1: Load(2.0, 8192, 34.0)}
    # Too soon for a rate: the last one stands, the memory is that of now.
    kernel.used[7] = (34.4, 9000, 2, 1)
    assert meter.measure(running(7, 100.0), now=162.1) == {EMAILS_1: Load(2.0, 9000, 34.4)}
    kernel.used[7] = (34.0, 8192, 1, 1)
    assert meter.measure(running(7, 100.0), now=164.0)[EMAILS_1].cpu == 0.0


def test_another_process_in_the_slot_begins_anew_and_one_that_is_gone_has_no_load() -> None:
    kernel = Kernel()
    meter = Meter(kernel.read)
    kernel.used[7] = (30.0, 4096, 1, 1)
    meter.measure(running(7, 100.0), now=160.0)
    kernel.used = {8: (1.0, 4096, 1, 1)}
    assert meter.measure(running(7, 100.0), now=161.0) == {}
    assert meter.measure(running(8, 160.0), now=162.0) == {EMAILS_1: Load(0.5, 4096, 1.0)}
