"""Trees of workers: FAULTS 1, 9, 10, 17; who is charged with what, and strays."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.process.support import processes
from tests.process.support.keeper import WORKERS, Keeper, program, read_when_written
from tests.process.support.waiting import until

pytestmark = pytest.mark.process
EACH_TIER = True


def daemon(tmp_path: Path, *options: str, name: str = "daemon") -> list[str]:
    return program("daemon.py", tmp_path / name, *options)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--ignore-term"],
        ["--clear-env"],
        ["--clear-env", "--ignore-term"],
        ["--clear-mark"],
        ["--clear-mark", "--clear-env", "--keep-pipes", "--ignore-term"],
    ],
    ids=" ".join,
)
def test_faults_9_a_daemon_ends_with_its_worker(keeper: Keeper, tmp_path: Path, options: list[str]) -> None:
    """It is charged by the mark, by the cookie where the mark is gone, by the pipe where both are."""
    generation, _ = keeper.run(daemon(tmp_path, *options), grace=0.2)
    found = processes.stat(int(read_when_written(tmp_path / "daemon")))
    assert found is not None
    assert found.parent == keeper.pid, "it has left its worker's tree"
    keeper.stop(generation)
    keeper.of(generation, "gone")
    assert not processes.is_the_same(found), "the slot is free only when the daemon is gone"
    assert not [event for event in keeper.events if event["t"] == "stray"]


def test_faults_9_10_a_daemon_ends_when_its_worker_leaves_by_itself(keeper: Keeper, tmp_path: Path) -> None:
    generation = keeper.spawn(daemon(tmp_path, "--ignore-term", "--leave", "3"), grace=0.2)
    assert keeper.of(generation, "exited")["status"]["code"] == 3
    found = processes.stat(int((tmp_path / "daemon").read_text()))
    assert found is not None
    keeper.of(generation, "gone")
    assert not processes.is_the_same(found)


def test_a_daemon_is_left_alone_while_its_worker_lives(keeper: Keeper, tmp_path: Path) -> None:
    keeper.run(daemon(tmp_path))
    found = processes.stat(int(read_when_written(tmp_path / "daemon")))
    assert found is not None
    other, _ = keeper.run(["/bin/true"], "other.1")
    keeper.of(other, "gone")
    keeper.answers()
    assert processes.is_the_same(found)


def test_each_daemon_is_charged_to_its_own_worker(keeper: Keeper, tmp_path: Path) -> None:
    slots = range(1, 7)
    generations = {n: keeper.run(daemon(tmp_path, name=str(n)), f"w.{n}", grace=0.2)[0] for n in slots}
    daemons = {n: processes.stat(int(read_when_written(tmp_path / str(n)))) for n in slots}
    for n in slots:
        keeper.stop(generations[n])
        keeper.of(generations[n], "gone")
        alive = {slot for slot, found in daemons.items() if found is not None and processes.is_the_same(found)}
        assert alive == {slot for slot in slots if slot > n}


def test_faults_9_workers_that_rename_themselves_end_with_all_they_started(keeper: Keeper, tmp_path: Path) -> None:
    generation, pid = keeper.run([sys.executable, str(WORKERS / "rename.py"), str(tmp_path / "pid")], grace=0.2)
    read_when_written(tmp_path / "pid")
    child = int(read_when_written(tmp_path / "pid.child"))
    assert processes.COOKIE not in processes.environment(child)
    assert processes.mark(child) == keeper.instance << processes.GENERATION_BITS | generation
    os.kill(pid, signal.SIGKILL)
    keeper.of(generation, "gone")
    assert not processes.exists(child)


def test_a_stray_that_hides_is_reported_blocks_nobody_and_ends_at_the_end(
    keeper: Keeper, tmp_path: Path, tier: int
) -> None:
    """In T1. In T2 there is nowhere to hide."""
    if tier > 1:
        hides_in_vain(keeper, tmp_path)
        return
    generation, _ = keeper.run(daemon(tmp_path, "--clear-env", "--clear-mark", "--ignore-term"), grace=0.2)
    found = processes.stat(int(read_when_written(tmp_path / "daemon")))
    assert found is not None
    keeper.stop(generation)
    keeper.of(generation, "gone")
    stray = keeper.wait(lambda event: event["t"] == "stray", "the stray to be reported")
    assert stray["pid"] == found.pid
    assert processes.is_the_same(found)
    keeper.run(["sleep", "1000"])
    assert keeper.close() == 0
    assert not processes.is_the_same(found)


def hides_in_vain(keeper: Keeper, tmp_path: Path) -> None:
    generation, _ = keeper.run(daemon(tmp_path, "--clear-env", "--clear-mark", "--ignore-term"), grace=0.2)
    found = processes.stat(int(read_when_written(tmp_path / "daemon")))
    assert found is not None
    keeper.stop(generation)
    keeper.of(generation, "gone")
    assert not processes.is_the_same(found)
    assert not [event for event in keeper.events if event["t"] == "stray"]


def test_zombies_of_orphans_are_reaped(keeper: Keeper, tmp_path: Path) -> None:
    born = tmp_path / "born"
    storm = "for n in $(seq 100); do (sh -c 'exit 3' & sh -c 'exit 0' &) ; done"
    keeper.run(["/bin/sh", "-c", f"{storm}; echo all > {born}; sleep 1000"])
    read_when_written(born)
    until(lambda: len(processes.children(keeper.pid)) == 1, "all orphans to be reaped")
    assert processes.zombies_of(keeper.pid) == []


def test_faults_17_orphans_that_come_and_go_disturb_nobody(keeper: Keeper) -> None:
    storm = "while :; do (setsid sh -c 'sh -c : & :' &) ; sleep 0.001; done"
    bystander, _ = keeper.run(["sleep", "1000"], "bystander.1")
    generation, _ = keeper.run(["/bin/sh", "-c", storm], "storm.1", grace=1)
    for n in range(100):
        some, _ = keeper.run(["/bin/true"], f"w.{n}")
        keeper.of(some, "gone")
    keeper.stop(generation)
    keeper.of(generation, "gone")
    assert keeper.kinds(bystander) == ["executing"]


def test_faults_1_a_signal_never_reaches_a_process_that_took_the_number(keeper: Keeper) -> None:
    """The worker's number is given away between its end and the next order; the new owner of the number lives."""
    last_pid = Path("/proc/sys/kernel/ns_last_pid")
    try:
        last_pid.write_text(last_pid.read_text())  # its mode says that everybody may: a capability decides
    except OSError:
        pytest.skip("needs root in the pid namespace, to choose the number of the next process")
    given_away = 0
    for _ in range(20):
        generation, pid = keeper.run(["sleep", "1000"], grace=0)
        os.kill(keeper.pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        keeper.stop(generation)
        os.kill(keeper.pid, signal.SIGCONT)
        keeper.of(generation, "gone")
        canary = _with_number(last_pid, pid)
        if canary is not None:
            given_away += 1
            keeper.stop(generation)
            keeper.forget(generation)
            keeper.answers()
            assert os.waitpid(pid, os.WNOHANG) == (0, 0), "the canary has had no signal"
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert given_away, "no number could be given away"


def _with_number(last_pid: Path, pid: int) -> int | None:
    """A child of ours with this very number; None where somebody else was quicker."""
    last_pid.write_text(str(pid - 1))
    child = os.posix_spawnp("sleep", ["sleep", "1000"], os.environ)
    if child == pid:
        return child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
