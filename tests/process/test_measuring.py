"""What a worker uses, measured on real memory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from procq import core
from procq.meter import NO_LIMIT
from tests.process.support.keeper import Keeper
from tests.process.support.waiting import until

pytestmark = pytest.mark.process

HUNGRY = Path(__file__).parent / "workers" / "hungry.py"
MIB = 1 << 20


def used(pid: int, limit: int = NO_LIMIT) -> int:
    return core.usage([(pid, limit)])[0][1]


def test_faults_59_memory_that_processes_share_counts_once(keeper: Keeper, tmp_path: Path) -> None:
    """Four times 256 MiB of the same memory are over no limit of 300 MiB, and as much of one's own is."""
    tree, pid = keeper.run([sys.executable, str(HUNGRY), "share", "256"], "shares.1", directory=str(tmp_path))
    touched = tmp_path / "touched.1"
    until(lambda: touched.exists() and touched.read_text() == "xxxx", "all of them to touch all of it")
    assert used(pid) > 5 * 256 * MIB, "each has all of it"
    fair = used(pid, 300 * MIB)
    assert 250 * MIB < fair < 300 * MIB, f"{fair / MIB:.0f} MiB"
    keeper.stop(tree)
    _, pid = keeper.run([sys.executable, str(HUNGRY), "leak", "400"], "leaks.1", directory=str(tmp_path))
    (tmp_path / "leak").touch()
    until(lambda: used(pid, 300 * MIB) > 400 * MIB, "what it has alone to count in full")


def test_memory_of_what_has_left_the_tree_counts_to_its_worker(keeper: Keeper, tmp_path: Path) -> None:
    _, pid = keeper.run([sys.executable, str(HUNGRY), "escape", "200"], "leaves.1", directory=str(tmp_path))
    until((tmp_path / "escaped").exists, "the daemon")
    until(lambda: core.usage([(pid, NO_LIMIT)])[0][2] == 2, "both to be counted")
    (tmp_path / "leak").touch()
    until(lambda: used(pid) > 200 * MIB, "its memory to be counted")
