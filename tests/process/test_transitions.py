"""FAULTS 55: whoever dies in whatever state of a slot, the slot goes on. Each state of `procq.state` has its case."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from procq import state
from tests.process.support import processes
from tests.process.support.fixtures import Procqs
from tests.process.support.injecting import can_trace, strace
from tests.process.support.keeper import program, read_when_written
from tests.process.support.project import Procq
from tests.process.support.waiting import until

pytestmark = pytest.mark.process

STATES = {kind.__name__ for union in get_args(state.WorkerState) for kind in (get_args(union) or (union,))}


def manifest(command: list[str], more: str = "") -> str:
    return f"queues:\n  w:\n    command: {' '.join(command)}\n    stop:\n      grace: 5s\n{more}"


def seen(procq: Procq) -> str:
    return procq.client.workers(["w.1"])[0].state


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def starting(make: Procqs, folder: Path) -> Procq:
    """Held in the middle of its exec by a tracer, and killed there."""
    if not can_trace():
        pytest.skip("needs strace, and the right to attach it")
    procq = make(manifest(["sleep", "1000"])).start(1)
    keeper = procq.info().pid
    hold = ["-f", "--trace=execve", "--inject=execve:delay_enter=3000000:when=1"]
    with strace(keeper, folder / "trace", *hold):
        (worker,) = procq.workers().values()
        kill(worker.pid)
        child = until(
            lambda: next((p for p in processes.children(keeper) if (s := processes.stat(p)) and s.state == "t"), None),
            "the child before its exec",
        )
        assert seen(procq) == "starting"
        kill(child)
    return procq


def running(make: Procqs, folder: Path) -> Procq:
    procq = make(manifest(["sleep", "1000"])).start(1)
    kill(procq.workers()["w.1"].pid)
    return procq


def stopping(make: Procqs, folder: Path) -> Procq:
    """It ignores what it was asked; somebody else is quicker than the end of its grace period."""
    procq = make(manifest(program("stubborn.py", folder / "pid"))).start(1)
    pid = int(read_when_written(folder / "pid"))
    procq.client.restart(["w"])
    until(lambda: seen(procq) == "stopping", "the stop")
    kill(pid)
    return procq


def draining(make: Procqs, folder: Path) -> Procq:
    """Its leader has left, what it had started ignores the end."""
    procq = make(manifest(program("daemon.py", folder / "pid", "--ignore-term", "--leave", 1))).start()
    pid = int(read_when_written(folder / "pid"))
    until(lambda: procq.client.workers(["w.1"])[0].last_exit == "exit code 1", "the end of the leader")
    assert seen(procq) == "stopping"
    (folder / "pid").unlink()
    procq.save(manifest(["sleep", "1000"]))
    kill(pid)
    return procq


def ended(make: Procqs, folder: Path) -> Procq:
    """The control plane dies before it has decided what becomes of the slot."""
    procq = make(manifest(["sleep", "1000"])).start(1)
    control_plane = procq.control_plane()
    os.kill(control_plane, signal.SIGSTOP)
    kill(procq_worker := processes.children(procq.info().pid)[-1])
    until(lambda: not processes.exists(procq_worker), "the end")
    kill(control_plane)
    return procq


def backoff(make: Procqs, folder: Path) -> Procq:
    """The control plane dies while the slot waits."""
    procq = make(manifest(["false"], "    restart:\n      backoff: 10m..10m\n")).start()
    until(lambda: seen(procq) == "waiting", "the pause")
    procq.kill_control_plane()
    procq.save(manifest(["sleep", "1000"]))
    return procq


def finished(make: Procqs, folder: Path) -> Procq:
    """The control plane dies while nothing is to take the slot."""
    procq = make(manifest(["true"], "    restart: never\n")).start()
    until(lambda: seen(procq) == "finished", "the end")
    procq.kill_control_plane()
    assert seen(procq) == "finished"
    procq.save(manifest(["sleep", "1000"]))
    return procq


CASES: dict[str, Callable[[Procqs, Path], Procq]] = {
    "Starting": starting,
    "Running": running,
    "Stopping": stopping,
    "Draining": draining,
    "Ended": ended,
    "Backoff": backoff,
    "Finished": finished,
}


def test_every_state_has_a_case() -> None:
    assert CASES.keys() == STATES


@pytest.mark.parametrize("name", CASES)
def test_faults_55_a_death_in_any_state_does_not_hold_the_slot(procqs: Procqs, tmp_path: Path, name: str) -> None:
    procq = CASES[name](procqs, tmp_path)
    procq.wait_running(1)
    procq.began(1)  # what it has open with one that runs is what it may have in the end
