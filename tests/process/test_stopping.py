"""Stopping one worker: FAULTS 10, 44, 53; a stop is heard by the leader alone, and by the rest when it is gone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.process.support import processes
from tests.process.support.keeper import Keeper, program, read_when_written
from tests.process.support.waiting import until

pytestmark = pytest.mark.process
EACH_TIER = True


def has(ledger: Path, line: str) -> bool:
    return ledger.exists() and line in ledger.read_text().splitlines()


def test_the_stop_signal_goes_to_the_leader_only_and_to_the_rest_when_it_has_gone(
    keeper: Keeper, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    generation, _ = keeper.run(program("family.py", ledger))
    until(lambda: has(ledger, "leader ready") and has(ledger, "child ready"), "the family")
    keeper.stop(generation)
    until(lambda: has(ledger, "leader TERM"), "the leader to be asked")
    keeper.answers()
    assert not has(ledger, "child TERM")
    Path(f"{ledger}.go").touch()
    gone = keeper.of(generation, "gone")
    assert ledger.read_text().splitlines()[-2:] == ["leader TERM", "child TERM"]
    assert gone["killed"] == 0


def test_a_handler_that_needs_less_than_its_grace_runs_to_its_end(keeper: Keeper, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    generation, _ = keeper.run(program("job.py", ledger, 0.3, "j"), grace=5)
    until(lambda: has(ledger, "ready j"), "the worker")
    keeper.stop(generation)
    assert keeper.of(generation, "gone")["killed"] == 0
    assert ledger.read_text() == "ready j\nasked j\ndone j\n"
    assert keeper.of(generation, "exited")["status"]["code"] == 0


def test_another_stop_signal(keeper: Keeper, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    generation, _ = keeper.run(program("job.py", ledger, 0, "j"), signal=signal.SIGINT)
    until(lambda: has(ledger, "ready j"), "the worker")
    keeper.stop(generation)
    keeper.of(generation, "gone")
    assert has(ledger, "done j")


def test_who_ignores_the_signal_is_killed_at_the_deadline_with_all_it_started(keeper: Keeper, tmp_path: Path) -> None:
    inner = program("stubborn.py", tmp_path / "inner")
    generation, pid = keeper.run(program("stubborn.py", tmp_path / "outer", *inner), grace=0.2)
    child = int(read_when_written(tmp_path / "inner"))
    read_when_written(tmp_path / "outer")
    keeper.stop(generation)
    stopping, gone = keeper.of(generation, "stopping"), keeper.of(generation, "gone")
    assert stopping["deadline"] - stopping["at"] == 200_000_000
    assert 0 <= gone["at"] - stopping["deadline"] < 150_000_000, "grace + 150 ms"
    assert keeper.of(generation, "exited")["status"]["signal"] == signal.SIGKILL
    assert gone["killed"] == 2
    assert not processes.exists(pid)
    assert not processes.exists(child)


def test_a_second_stop_can_only_bring_the_deadline_forward(keeper: Keeper, tmp_path: Path) -> None:
    generation, _ = keeper.run(program("stubborn.py", tmp_path / "pid"), grace=60)
    read_when_written(tmp_path / "pid")
    keeper.stop(generation)
    keeper.stop(generation, grace=120_000)
    keeper.answers()
    assert keeper.kinds(generation).count("stopping") == 1
    keeper.stop(generation, grace=100)
    gone = keeper.of(generation, "gone")
    last = [event for event in keeper.events if event["t"] == "stopping"][-1]
    assert last["deadline"] - last["at"] == 100_000_000
    assert gone["at"] >= last["deadline"]


def test_faults_53_a_stopped_worker_hears_the_signal(keeper: Keeper, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    generation, pid = keeper.run(program("job.py", ledger, 0, "j"))
    until(lambda: has(ledger, "ready j"), "the worker")
    os.kill(pid, signal.SIGSTOP)
    until(lambda: (s := processes.stat(pid)) and s.state == "T", "it to be stopped")
    keeper.stop(generation)
    assert keeper.of(generation, "gone")["killed"] == 0
    assert has(ledger, "done j")


def test_faults_53_a_stopped_child_hears_it_when_the_leader_has_gone(keeper: Keeper, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    Path(f"{ledger}.go").touch()
    generation, pid = keeper.run(program("family.py", ledger))
    until(lambda: has(ledger, "leader ready") and has(ledger, "child ready"), "the family")
    (child,) = processes.children(pid)
    os.kill(child, signal.SIGSTOP)
    keeper.stop(generation)
    assert keeper.of(generation, "gone")["killed"] == 0
    assert has(ledger, "child TERM")


def test_faults_10_the_rest_of_a_leader_that_left_by_itself_is_asked_then_killed(
    keeper: Keeper, tmp_path: Path
) -> None:
    inner = " ".join(program("stubborn.py", tmp_path / "pid"))
    script = f"{inner} & while [ ! -e {tmp_path / 'pid'} ]; do :; done; exit 4"
    generation = keeper.spawn(["/bin/sh", "-c", script], grace=0.2)
    exited = keeper.of(generation, "exited")
    child = int((tmp_path / "pid").read_text())
    assert exited["status"]["code"] == 4
    assert processes.exists(child), "the exit is told before the rest of the tree has gone"
    successor = keeper.spawn(["sleep", "1000"])
    assert "still holds the slot" in keeper.of(successor, "refused")["why"]
    gone = keeper.of(generation, "gone")
    assert gone["killed"] == 1
    assert gone["at"] - exited["at"] >= 200_000_000, "it had its grace period"
    assert not processes.exists(child)
    keeper.run(["sleep", "1000"])


def test_the_policy_of_a_running_worker_can_change(keeper: Keeper, tmp_path: Path) -> None:
    generation, _ = keeper.run(program("stubborn.py", tmp_path / "pid"), grace=60)
    read_when_written(tmp_path / "pid")
    policy = {"signal": int(signal.SIGTERM), "grace": 50}
    keeper.send({"t": "configure", "worker": "w.1", "generation": generation, "stop": policy, "log": None})
    keeper.stop(generation)
    assert keeper.of(generation, "gone")["killed"] == 1


def test_a_worker_that_forks_for_ever_is_ended(keeper: Keeper, tmp_path: Path) -> None:
    script = f"trap '' TERM; f() {{ (sleep 0.005; f) & }}; f; f; echo > {tmp_path / 'ready'}; wait; sleep 1000"
    generation, _ = keeper.run(["/bin/sh", "-c", script], grace=0.1)
    read_when_written(tmp_path / "ready")
    keeper.stop(generation)
    assert keeper.of(generation, "gone", seconds=10)["killed"] >= 1
