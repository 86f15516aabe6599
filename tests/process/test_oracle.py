"""The leak oracle must be able to fail: each kind of leak is planted, found, and taken away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.process.support import processes
from tests.process.support.fixtures import Procqs
from tests.process.support.keeper import Keeper, program, read_when_written
from tests.process.support.oracle import Oracle, keeper_excess
from tests.process.support.waiting import until

pytestmark = pytest.mark.process

INSTANCE = (1 << 30) - 12345


@pytest.fixture
def planted(oracle: Oracle) -> Iterator[Oracle]:
    """An oracle of its own: what it finds must not fail the test."""
    other = Oracle()
    other.knows(INSTANCE)
    yield other
    other.clean_up()
    until(lambda: not other.alive(), "the planted leaks to be gone")


@contextmanager
def leak(argv: list[str], environ: dict[str, str], mark: int | None = None) -> Iterator[int]:
    marked = [] if mark is None else ["prlimit", f"--locks={mark}:"]
    with subprocess.Popen([*marked, *argv], env=environ, start_new_session=True) as process:
        try:
            # prlimit and env execute the command in their own place.
            until(lambda: _name(process.pid) not in ("prlimit", "env"), "the planted process to run")
            yield process.pid
        finally:
            process.kill()


def _name(pid: int) -> str:
    found = processes.stat(pid)
    return found.name if found else "gone"


def test_a_clean_house_is_clean(planted: Oracle) -> None:
    assert planted.leaks() == []


def test_it_finds_a_process_that_left_its_session_by_the_cookie(planted: Oracle) -> None:
    with leak(["sleep", "1000"], {"PATH": os.environ["PATH"], processes.COOKIE: planted.cookie}) as pid:
        until(lambda: planted.alive() == [pid], "the planted process to be seen")
        assert [found for found in planted.leaks(0) if f"process {pid} " in found]


@pytest.mark.parametrize("command", [["env", "-i", "sleep", "1000"], ["sleep", "1000"]])
def test_it_finds_a_process_without_environment_by_the_mark(planted: Oracle, command: list[str]) -> None:
    with leak(command, {"PATH": os.environ["PATH"]}, mark=INSTANCE << processes.GENERATION_BITS | 7) as pid:
        assert [found for found in planted.leaks(0) if f"process {pid} " in found]


def test_it_finds_a_process_that_renamed_itself_by_the_mark(planted: Oracle, tmp_path: Path) -> None:
    argv = [sys.executable, program("rename.py")[3], str(tmp_path / "pid")]
    environ = {"PATH": os.environ["PATH"], processes.COOKIE: planted.cookie}
    with leak(argv, environ, mark=INSTANCE << processes.GENERATION_BITS | 7) as pid:
        child = int(read_when_written(tmp_path / "pid.child"))
        read_when_written(tmp_path / "pid")
        assert processes.COOKIE not in processes.environment(child), "setproctitle has not wiped the cookie"
        assert sorted(planted.alive()) == sorted([pid, child])


def test_it_finds_a_zombie(planted: Oracle) -> None:
    pid = os.posix_spawnp("true", ["true"], os.environ)
    try:
        until(lambda: processes.zombies_of(os.getpid()), "the zombie")
        assert [found for found in planted.leaks(0) if f"zombie {pid} " in found]
    finally:
        os.waitpid(pid, 0)


def test_it_finds_a_file(planted: Oracle, tmp_path: Path) -> None:
    planted.looks_at(tmp_path)
    (tmp_path / "lock").touch()
    assert planted.leaks() == []
    (tmp_path / "keeper.sock").touch()
    assert planted.leaks(0) == [f"file {tmp_path / 'keeper.sock'}"]


def test_it_finds_descriptors_and_zombies_of_a_keeper(keeper: Keeper) -> None:
    generation, _ = keeper.run(["sleep", "1000"])
    assert keeper_excess(keeper.pid, keeper.baseline, workers=1) == []
    assert len(keeper_excess(keeper.pid, keeper.baseline, workers=0)) == 3, "a pidfd, two pipes and a notify socket"
    os.kill(keeper.pid, signal.SIGSTOP)
    try:
        os.kill(keeper.of(generation, "executing")["pid"], signal.SIGKILL)
        until(lambda: processes.zombies_of(keeper.pid), "a zombie that a stopped keeper does not reap")
        assert any("zombie" in found for found in keeper_excess(keeper.pid, keeper.baseline, workers=1))
    finally:
        os.kill(keeper.pid, signal.SIGCONT)
    keeper.of(generation, "gone")


def test_it_sees_every_part_of_a_running_project(procqs: Procqs, oracle: Oracle) -> None:
    procq = procqs("queues:\n  sleepers: sleep 1000\n").start(1)
    (worker,) = procq.workers().values()
    assert set(oracle.alive()) == {procq.info().pid, procq.info().sentinel, procq.control_plane(), worker.pid}
