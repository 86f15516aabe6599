"""FAULTS 43, again and again."""

from __future__ import annotations

import pytest

from tests.process.support import processes
from tests.process.support.fixtures import Procqs
from tests.process.support.trials import SOAK, bound
from tests.process.support.waiting import until
from tests.process.test_crowd import CROWD, crash_together, idles, manifest

pytestmark = [pytest.mark.soak, pytest.mark.process]


def test_crowds(procqs: Procqs) -> None:
    procq = procqs(manifest()).start()
    until(lambda: len(procq.workers()) == CROWD, "all of them", 120)
    for _ in range(SOAK.crowds):
        crash_together(procq)
        until(lambda: idles(procq), "keeper and control plane to be idle again")
        assert processes.zombies_of(procq.info().pid) == []
    print(f"{CROWD} crashes at once: {bound(SOAK.crowds)}")
