"""The long trials, `make soak`: the code of tests/process, ten times as often, and what only length can show."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import pytest

from tests.process.support import processes, tiers, writers
from tests.process.support.fixtures import Keepers, Procqs
from tests.process.support.household import kill_keeper, kill_sentinel, move_in
from tests.process.support.keeper import Keeper
from tests.process.support.notifying import notify_and_exit
from tests.process.support.oracle import Oracle
from tests.process.support.rotating import rotation_trial
from tests.process.support.trials import SEED, SOAK, bound
from tests.process.support.waiting import until
from tests.process.test_control_plane import KILLS, WORKERS, prove_that_a_control_plane_may_die
from tests.process.test_endings import down_leaves_nothing
from tests.process.test_exits import spawn_many, stop_at_once
from tests.process.test_namespace import begin, kill_leaves_nothing, start
from tests.process.workers.flood import LINE, LINES

pytestmark = [pytest.mark.soak, pytest.mark.process]

GRACE = 0.3
BATCHES = 20
SECONDS = 10
TAILS = 10_000
LEAK = 0.5
"""Bytes a spawn: what a keeper that forgets nothing would show after a year."""


def test_kill_9_of_the_keeper(keepers: Keepers, oracle: Oracle, tmp_path: Path) -> None:
    longest = 0.0
    for trial in range(SOAK.keeper_kills):
        keeper = keepers()
        household = move_in(keeper, tmp_path / str(trial))
        longest = max(longest, kill_keeper(keeper, oracle, household, Random(SEED + trial)))
    print(f"kill -9 of the keeper: {bound(SOAK.keeper_kills)}; the slowest took {longest * 1000:.0f} ms")


@pytest.mark.skipif(tiers.lacking(3) is not None, reason=str(tiers.lacking(3)))
@pytest.mark.parametrize("tier", [3], indirect=True, ids=["T3"])
def test_kill_9_of_the_keeper_of_a_namespace(procqs: Procqs, oracle: Oracle, tmp_path: Path, tier: int) -> None:
    procq = start(procqs, tmp_path)
    for trial in range(SOAK.keeper_kills):
        kill_leaves_nothing(procq, oracle, both=trial % 2 == 1)
        begin(procq, tmp_path)
    procq.command("down")
    print(f"kill -9 of the keeper in T{tier}: {bound(SOAK.keeper_kills)}; of every other one with its sentinel")


def test_kill_9_of_the_sentinel(keepers: Keepers, oracle: Oracle, tmp_path: Path) -> None:
    for trial in range(SOAK.sentinel_kills):
        keeper = keepers()
        household = move_in(keeper, tmp_path / str(trial), GRACE)
        kill_sentinel(keeper, oracle, household, GRACE)
    print(f"kill -9 of the sentinel: {bound(SOAK.sentinel_kills)}")


def test_kill_9_of_the_control_plane(procqs: Procqs) -> None:
    lives = SOAK.control_kills // KILLS
    for life in range(lives):
        procq = procqs(writers.manifest(WORKERS)).start(WORKERS)
        prove_that_a_control_plane_may_die(procq, KILLS, SEED + life)
    print(f"kill -9 of the control plane: {bound(lives * KILLS)}")


def test_down(procqs: Procqs, oracle: Oracle) -> None:
    for _ in range(SOAK.downs):
        down_leaves_nothing(procqs, oracle)
    print(f"procq down: {bound(SOAK.downs)}")


def test_stop_right_after_the_spawn(keeper: Keeper) -> None:
    stop_at_once(keeper, SOAK.early_stops)
    print(f"stop right after the spawn: {bound(SOAK.early_stops)}")


def test_faults_54_who_says_that_it_is_ready_and_ends_at_once(keeper: Keeper) -> None:
    notify_and_exit(keeper, SOAK.notices)
    print(f"READY=1 and the end at once: {bound(SOAK.notices)}")


def test_many_spawns_leave_the_keeper_as_it_was(keeper: Keeper) -> None:
    spawn_many(keeper, SOAK.spawns // BATCHES)
    used = []
    for _ in range(BATCHES):
        spawn_many(keeper, SOAK.spawns // BATCHES)
        used.append(processes.memory(keeper.pid))
        assert processes.zombies_of(keeper.pid) == []
    leak = slope(used) / (SOAK.spawns // BATCHES)
    print(f"{SOAK.spawns} spawns: {leak:+.2f} bytes of memory each, {used[-1] / 1e6:.1f} MB in the end")
    assert leak < LEAK


def slope(values: list[int]) -> float:
    """Of the line through the values that fits best: their growth from one to the next."""
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    return sum((n - middle) * (value - mean) for n, value in enumerate(values)) / sum(
        (n - middle) ** 2 for n in range(len(values))
    )


@pytest.mark.parametrize("compress", [False, True])
def test_faults_35_rotation_at_50_mb_a_second(procqs: Procqs, keepers: Keepers, tmp_path: Path, compress: bool) -> None:
    project = procqs("").project
    project.prepare()
    keeper = keepers(run_dir=project.run_dir, keeper_socket=project.keeper_socket)
    chunks = SECONDS * 50_000_000 // (LINE * LINES)
    outcome = rotation_trial(
        keeper,
        project.keeper_socket,
        tmp_path,
        chunks=chunks,
        rate=50e6,
        every=0.05,
        seed=SEED,
        compress=compress,
    )
    print(outcome)


def test_faults_28_the_tail_of_what_a_terminal_holds_when_its_worker_ends(keeper: Keeper, tmp_path: Path) -> None:
    """4,643 bytes, more than a terminal hands out at once, then the end."""
    wanted = bytes(97 + n % 26 for n in range(4642)) + b"\n"
    code = f"import os\nos.write(1, {wanted!r})"
    log = tmp_path / "log"
    generations = []
    for number in range(TAILS):
        generations.append(
            keeper.spawn([sys.executable, "-I", "-S", "-c", code], f"w.{number % 20}", tty=True, log=log)
        )
        if len(generations) == 20:
            for generation in generations:
                keeper.of(generation, "gone")
            generations.clear()
            written = (number + 1) * len(wanted)
            until(lambda written=written: log.stat().st_size == written, "every byte")  # type: ignore[misc]
    assert log.read_bytes() == wanted * TAILS
    print(f"the tail of a terminal: {bound(TAILS)}")
