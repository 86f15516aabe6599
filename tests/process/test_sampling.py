"""FAULTS 17: measuring processes that end while they are measured."""

from __future__ import annotations

import threading

import pytest

from procq import core
from procq.meter import NO_LIMIT
from tests.process.support.keeper import Keeper
from tests.process.test_exits import spawn_many

pytestmark = pytest.mark.process


def test_faults_17_what_stays_is_measured_whatever_comes_and_goes_beside_it(keeper: Keeper) -> None:
    _, stays = keeper.run(["sleep", "1000"], "stays.1")
    tree, parent = keeper.run(["/bin/sh", "-c", "while :; do (exec sleep 0.001); done"], "churns.1")
    enough, looks = threading.Event(), [0]
    faults: list[object] = []

    def sample() -> None:
        while not enough.is_set():
            try:
                still, busy, absent = core.usage([(pid, NO_LIMIT) for pid in (stays, parent, 0x7FFFFFFF)])
            except Exception as error:
                return faults.append(error)
            looks[0] += 1
            if still[2] != 1 or still[1] <= 0 or busy[2] < 1 or absent != (0.0, 0, 0, 0):
                faults.append((still, busy, absent))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        spawn_many(keeper, 2_000)
    finally:
        enough.set()
        sampler.join()
    print(f"{looks[0]} looks")
    assert faults == []
    assert looks[0] > 20
    keeper.stop(tree)
