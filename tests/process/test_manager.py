"""procq inside a program: the manager, and what becomes of its workers when the program dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import procq
from procq.errors import ManifestError
from procq.manager import ManagerClosed, StillRunning
from procq.model import StopPolicy
from procq.targets import NoSuchTarget
from tests.process.support import processes
from tests.process.support.oracle import Oracle
from tests.process.support.waiting import PATIENCE, until

pytestmark = pytest.mark.process

SLEEP = ["sleep", "1000"]
PROGRAM = """
import procq, sys
manager = procq.Manager()
manager.add("emails", ["sleep", "1000"], workers=3)
assert manager.wait_until_running(30)
print("running", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def marked(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything the test starts carries the oracle's cookie."""
    monkeypatch.setenv(processes.COOKIE, oracle.cookie)


def pids(manager: procq.Manager, *names: str) -> dict[str, int | None]:
    return {worker.id: worker.pid for worker in manager.status(*names)}


def test_scaling_keeps_those_who_stay() -> None:
    with procq.Manager() as manager:
        manager.add("emails", SLEEP, workers=2)
        assert manager.wait_until_running(PATIENCE)
        before = pids(manager)
        manager.scale("emails", 5)
        assert manager.wait_until_running(PATIENCE)
        after = pids(manager)
        assert len(after) == 5
        assert {name: after[name] for name in before} == before


def test_restart_replaces_the_workers_meant() -> None:
    with procq.Manager() as manager:
        manager.add("emails", SLEEP, workers=2)
        assert manager.wait_until_running(PATIENCE)
        before = pids(manager)
        manager.restart("emails.1")
        until(lambda: pids(manager)["emails.1"] not in (None, before["emails.1"]), "another emails.1")
        assert pids(manager)["emails.2"] == before["emails.2"]


def test_stop_all_start_and_remove() -> None:
    with procq.Manager() as manager:
        manager.add("emails", SLEEP, workers=2)
        manager.add("web", SLEEP)
        assert manager.wait_until_running(PATIENCE)
        manager.stop_all(timeout=PATIENCE)
        assert [worker.state for worker in manager.status()] == ["stopped"] * 3
        manager.start("web")
        until(lambda: [worker.state for worker in manager.status("web")] == ["running"], "web to run")
        manager.remove("web")
        until(lambda: not any(worker.queue == "web" for worker in manager.status()), "web to be gone")


def test_stop_all_says_who_is_still_there(tmp_path: Path) -> None:
    with procq.Manager() as manager:
        ignores = ["/bin/sh", "-c", f"trap '' TERM; : > {tmp_path}/ready; exec sleep 1000"]
        manager.add("stubborn", ignores, stop=StopPolicy(grace=1.0))
        until((tmp_path / "ready").exists, "the worker to be stubborn")
        with pytest.raises(StillRunning) as still:
            manager.stop_all(timeout=0.05)
        assert still.value.workers == ("stubborn.1",)
        manager.stop_all(timeout=PATIENCE)


def test_a_manifest_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "procq.yaml").write_text("queues:\n  emails:\n    command: sleep 1000\n    workers: 2\n")
    with procq.Manager(tmp_path / "procq.yaml") as manager:
        assert manager.wait_until_running(PATIENCE)
        assert len(manager.status("emails")) == 2
    (tmp_path / "procq.yaml").write_text("queues: 5\n")
    with pytest.raises(ManifestError):
        procq.Manager(tmp_path / "procq.yaml")


def test_what_does_not_exist_is_refused() -> None:
    with procq.Manager() as manager:
        manager.add("emails", SLEEP, workers=0)
        with pytest.raises(KeyError):
            manager.scale("reports", 1)
        with pytest.raises(KeyError):
            manager.remove("reports")
        with pytest.raises(ValueError, match="between 0 and"):
            manager.scale("emails", -1)
        with pytest.raises(NoSuchTarget):
            manager.restart("reports")


def test_a_closed_manager_says_so_and_closes_twice() -> None:
    manager = procq.Manager()
    manager.close()
    manager.close()
    with pytest.raises(ManagerClosed):
        manager.status()


def test_when_the_program_is_killed_its_workers_end(oracle: Oracle) -> None:
    program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert program.stdin is not None
    assert program.stdout is not None
    with program, program.stdin, program.stdout:
        assert program.stdout.readline() == b"running\n"
        assert len(oracle.alive()) >= 5
        os.kill(program.pid, signal.SIGKILL)
        program.wait(PATIENCE)
    until(lambda: oracle.alive() == [], "everything to end")
