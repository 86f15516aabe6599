"""Processes that not even SIGKILL ends, because they wait in the kernel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.support import cgroups, processes
from tests.process.support.hanging import Hanging, hanging
from tests.process.support.keeper import Keeper
from tests.process.support.waiting import PATIENCE, within

pytestmark = pytest.mark.process

STUCK = 5.0
"""Seconds after its SIGKILL after which something that is left is said to be stuck."""
STRAYS = 2.0
"""Seconds that a keeper gives, at the very end, to what is left."""


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Hanging]:
    with hanging(tmp_path / "hanging") as made:
        yield made


def hang(keeper: Keeper, mounted: Hanging, worker: str = "w.1") -> tuple[int, int]:
    """A worker whose child hangs; generation and pid of the child."""
    script = f"cat {mounted.folder}/file & echo; wait"
    generation, pid = keeper.run(["sh", "-c", script], worker, grace=0.2)
    mounted.wait()
    (child,) = processes.children(pid)
    return generation, child


def test_faults_52_what_hangs_in_the_kernel_is_told_once_and_holds_up_nobody_else(
    keeper: Keeper, mounted: Hanging
) -> None:
    generation, child = hang(keeper, mounted)
    keeper.stop(generation)
    other, _ = keeper.run(["sleep", "1000"], "other.1", grace=0.2)
    keeper.stop(other)
    keeper.of(other, "gone")
    found = keeper.of(generation, "stuck")
    deadline = keeper.of(generation, "stopping")["deadline"]
    assert found["at"] >= deadline + STUCK * 1e9
    assert found["what"].startswith(f"process {child} (cat) is in state D in ")
    assert "gone" not in keeper.kinds(generation)
    again = keeper.spawn(["true"])
    assert "still holds the slot" in keeper.of(again, "refused")["why"]
    keeper.answers()
    keeper.pump(0.1)
    assert keeper.kinds(generation).count("stuck") == 2, "told, and told again by the snapshot"
    mounted.let_go()
    keeper.of(generation, "gone")
    keeper.of(keeper.spawn(["true"]), "gone")


def test_faults_52_a_stop_of_everything_does_not_wait_for_what_hangs(keeper: Keeper, mounted: Hanging) -> None:
    generation, child = hang(keeper, mounted)
    keeper.send({"t": "shutdown", "reason": "the end"})
    began = time.monotonic()
    assert keeper.sentinel.wait(PATIENCE) == 0
    # What the sentinel gives it once more, and a look a second.
    assert time.monotonic() - began < 0.2 + 2 * STUCK + STRAYS + 2
    assert generation
    assert processes.exists(child), "the kernel keeps it"
    mounted.let_go()
    within(PATIENCE, lambda: not processes.exists(child), "its end")
    # With somebody in it a group cannot be removed: the next procq finds it.
    cgroups.remove_of(keeper.instance)
