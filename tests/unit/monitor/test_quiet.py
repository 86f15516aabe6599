"""What workers are seen to take, over looks that are written out, and what a budget makes of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from procq.meter import Used
from procq.monitor.host import MARGIN
from procq.monitor.quiet import EVERY, Users
from procq.rules import Claim
from procq.scaling.budget import Budget, Sharing, wish_of
from procq.scaling.policy import Decision
from procq.state import QueueState, Running
from tests.unit.scaling.test_policy import NOTHING

MIB = 1 << 20
BOOT = 3.0


class Site:
    """Workers of one queue that take so many cores and bytes each, and somebody who looks at them."""

    def __init__(self) -> None:
        self.now, self.cores, self.bytes = 100.0, 0.5, 10.0 * MIB
        self.users = Users(self._read)
        self._workers: dict[int, Running] = {}
        self._seconds: dict[int, float] = {}
        self._pid = 0

    @property
    def count(self) -> int:
        return len(self._workers)

    @property
    def booted(self) -> int:
        return sum(state.ready is not None for state in self._workers.values())

    def resize(self, count: int) -> None:
        """The highest leave, and others start."""
        for slot in range(count + 1, self.count + 1):
            del self._workers[slot]
        for slot in range(self.count + 1, count + 1):
            self._pid += 1
            self._workers[slot] = Running(self._pid, "p", self._pid, self.now, None)
            self._seconds[self._pid] = 0.0

    def live(self, seconds: float, boots_take: float = 0.0) -> None:
        """Time passes; `boots_take` are cores of a worker that boots."""
        self.now += seconds
        for slot, state in self._workers.items():
            rate = self.cores if state.ready is not None else boots_take
            self._seconds[state.pid] += rate * seconds
            if state.ready is None and self.now - state.at >= BOOT:
                self._workers[slot] = replace(state, ready=self.now)

    def look(self) -> tuple[float, float]:
        """Cores and bytes that a worker takes."""
        asyncio.run(self.users.look({"a": QueueState(self._workers)}, ["a"], self.now))
        use = self.users.use("a")
        return use.cpus, use.memory

    def _read(self, roots: Sequence[tuple[int, int]]) -> list[Used]:
        return [(self._seconds[pid], int(self.bytes), 1, 1) for pid, _ in roots]


def worked(count: int, looks: int = 3) -> Site:
    """A site whose workers have been looked at some times while they worked."""
    site = Site()
    site.resize(count)
    for _ in range(looks):
        site.live(EVERY)
        site.look()
    return site


def test_what_a_worker_takes() -> None:
    site = Site()
    site.resize(2)
    site.live(BOOT)
    assert site.look() == (0.0, 10 * MIB), "memory is known at once, for cores it takes two looks"
    site.live(EVERY)
    assert site.look() == pytest.approx((0.5, 10 * MIB))


def test_workers_that_were_not_there_before_do_not_say_that_all_take_less() -> None:
    site = worked(4)
    site.resize(12)
    site.live(EVERY)
    assert site.look()[0] == pytest.approx(0.5)


def test_what_boots_is_not_what_a_worker_takes() -> None:
    site = worked(1)
    site.live(EVERY - 1.0)
    site.resize(2)
    site.live(1.0, boots_take=1.0)
    site.look()
    site.live(EVERY, boots_take=1.0)
    assert site.look()[0] == pytest.approx(0.5)


def test_one_look_that_differs_counts_for_little_and_what_stays_counts() -> None:
    site = worked(4, looks=20)
    site.cores, site.bytes = 1.0, 11 * MIB
    site.live(EVERY)
    assert site.look() == pytest.approx((0.5 + 0.5 / 12, (10 + 1 / 12) * MIB))
    for _ in range(60):
        site.live(EVERY)
        site.look()
    assert site.look() == pytest.approx((1.0, 11 * MIB), rel=0.01)


@pytest.mark.parametrize("noise", [0.1, 0.3])
@pytest.mark.parametrize("budget", [Budget(cpus=2.0, margin=MARGIN), Budget(memory=40 * MIB, margin=MARGIN)])
def test_busy_workers_stay_where_what_they_take_is_measured_a_little_differently(noise: float, budget: Budget) -> None:
    site, sharing, dice = Site(), Sharing(), random.Random(1)
    counts: list[int] = []
    site.resize(4)
    for second in range(600):
        site.live(1.0, boots_take=1.0)
        if second % 5 == 0:
            part = 1.0 + dice.uniform(-noise, noise)
            site.cores, site.bytes = 0.49 * part, 9.9 * MIB * part
            site.look()
        use = site.users.use("a")
        boots = tuple(1.0 for _ in range(site.count - site.booted))
        signals = replace(NOTHING, busy=site.booted, parkable=site.booted, starting=boots, most=20)
        decision = Decision(12, 12, "", (), "deadline", ())
        wish = wish_of("a", decision, signals, Claim(), use.cpus, int(use.memory))
        site.resize(sharing.grant([wish], budget, {}, float(second))["a"].workers)
        counts.append(site.count)
    settled = counts[60:]
    assert max(settled) - min(settled) <= 1
    assert all(before <= after for before, after in pairwise(settled)), "there is room for one more, or there is not"
