"""Deaths of keeper, sentinel and owner: FAULTS 11, 12, 14, and the promises about `kill -9`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from random import Random

import pytest

from tests.process.support import processes
from tests.process.support.fixtures import Keepers
from tests.process.support.household import kill_keeper, kill_sentinel, move_in
from tests.process.support.keeper import Keeper, program
from tests.process.support.oracle import Oracle
from tests.process.support.trials import CI, SEED
from tests.process.support.waiting import PATIENCE, throughout, until, within

pytestmark = pytest.mark.process
EACH_TIER = True


@pytest.mark.parametrize("trial", range(CI.keeper_kills))
def test_faults_11_kill_9_of_the_keeper_leaves_nothing_after_a_second(
    keeper: Keeper, oracle: Oracle, tmp_path: Path, trial: int
) -> None:
    household = move_in(keeper, tmp_path / "house")
    assert len(household.members) == 10
    took = kill_keeper(keeper, oracle, household, Random(SEED + trial))
    print(f"gone after {took * 1000:.0f} ms")


@pytest.mark.parametrize("trial", range(CI.sentinel_kills))
def test_kill_9_of_the_sentinel_is_a_graceful_stop(keeper: Keeper, oracle: Oracle, tmp_path: Path, trial: int) -> None:
    ledger, grace = tmp_path / "ledger", 0.3
    keeper.run(program("job.py", ledger, 0.1, "polite"), "polite.1", grace=grace)
    household = move_in(keeper, tmp_path / "house", grace)
    until(lambda: ledger.read_text() == "ready polite\n", "the polite worker")
    kill_sentinel(keeper, oracle, household, grace)
    assert ledger.read_text() == "ready polite\nasked polite\ndone polite\n"


def test_kill_9_of_both_ends_every_leader(keeper: Keeper, oracle: Oracle, tmp_path: Path) -> None:
    """In tier T1 no more than that is promised: docs/guarantees.md."""
    household = move_in(keeper, tmp_path / "house")
    for pid in (keeper.sentinel.pid, keeper.pid):
        os.kill(pid, signal.SIGKILL)
    keeper.sentinel.wait()
    leaders = [name for name in household.members if name.startswith("leader")]
    assert len(leaders) == 4
    within(1.0, lambda: not set(household.alive()) & set(leaders), "the end of the leaders")
    oracle.clean_up()


OWNER = """\
import select, sys
from pathlib import Path
from tests.process.support.keeper import Keeper, program
from tests.process.support.oracle import Oracle
oracle = Oracle()
oracle.cookie = sys.argv[1]
keeper = Keeper(oracle, Path("."))
for slot, ledger in enumerate(sys.argv[2:]):
    keeper.run(program("job.py", ledger, 0.2, "w"), f"w.{slot}")
print(keeper.pid, flush=True)
select.select([], [], [])
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_faults_11_an_owner_that_dies_has_its_workers_stopped_gracefully(
    oracle: Oracle, tmp_path: Path, how: signal.Signals
) -> None:
    ledgers = [tmp_path / f"ledger{n}" for n in range(3)]
    command = [sys.executable, "-c", OWNER, oracle.cookie, *map(str, ledgers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        oracle.knows(processes.instance(processes.children(pid)[0]) or 0)
        until(lambda: all(ledger.exists() and ledger.read_text() for ledger in ledgers), "the workers")
        owner.send_signal(how)
    within(5.0 + 1.0, lambda: not oracle.alive(), "the end of everything after the owner")
    assert [ledger.read_text() for ledger in ledgers] == ["ready w\nasked w\ndone w\n"] * 3


def test_faults_12_workers_outlive_the_thread_that_asked_for_them(keeper: Keeper) -> None:
    pids: list[int] = []

    def ask() -> None:
        pids.append(keeper.run(["sleep", "1000"], f"w.{len(pids)}")[1])

    for _ in range(5):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    throughout(0.2, lambda: all(map(processes.exists, pids)), "the life of the workers")


def test_faults_14_a_keeper_that_dies_between_clone_and_exec_leaves_nothing(keepers: Keepers, oracle: Oracle) -> None:
    for trial in range(CI.keeper_kills):
        keeper = keepers()
        for n in range(30):
            keeper.spawn(["sleep", "1000"], f"w.{n}")
        keeper.pump(0.001 * (trial % 5))
        os.kill(keeper.pid, signal.SIGKILL)
        within(1.0, lambda: not oracle.alive(), "the end of everybody after the keeper")


def test_a_keeper_that_is_stopped_and_continued_goes_on(keeper: Keeper) -> None:
    generation, pid = keeper.run(["sleep", "1000"])
    os.kill(keeper.pid, signal.SIGSTOP)
    keeper.stop(generation)
    os.kill(pid, signal.SIGTERM)
    until(lambda: not processes.exists(pid), "the worker to end")
    os.kill(keeper.pid, signal.SIGCONT)
    keeper.of(generation, "gone")


def test_the_sentinel_ends_with_the_code_of_the_keeper(keeper: Keeper) -> None:
    keeper.run(["sleep", "1000"])
    keeper.send({"t": "shutdown", "exit_code": 42, "reason": "the test says so"})
    assert keeper.sentinel.wait(PATIENCE) == 42
    keeper.link.close()
