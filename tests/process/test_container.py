"""procq as process 1 of a container: FAULTS 8."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.process.support import processes
from tests.process.support.container import Container
from tests.process.support.fixtures import Procqs
from tests.process.support.keeper import program
from tests.process.support.project import PROCQ
from tests.process.support.waiting import throughout, until, within

pytestmark = pytest.mark.process

JOBS = 3
DOCKER_STOP = 10.0
"""Seconds from TERM to KILL in `docker stop`."""
ORPHANS = 2_000
PTRACE_SEIZE = 0x4206

Containers = Callable[..., Container]


@pytest.fixture
def containers(procqs: Procqs) -> Iterator[Containers]:
    """Makes containers in which three workers run that finish a job on TERM."""
    with ExitStack() as cleanup:

        def make(seconds: float = 0.2, manifest: str | None = None, **options: Any) -> Container:
            job = " ".join(program("job.py", "ledger", seconds))
            procq = procqs(manifest or f"queues:\n  jobs:\n    command: {job}\n    workers: {JOBS}\n")
            container = Container(procq, **options)
            cleanup.callback(container.finish)
            return container

        yield make


def ledger(container: Container) -> list[str]:
    file = container.procq.folder / "ledger"
    return sorted(file.read_text().splitlines()) if file.exists() else []


def at_work(container: Container) -> Container:
    container.began(JOBS)
    until(lambda: len(ledger(container)) == JOBS, "the jobs")
    return container


def expected(*stages: str) -> list[str]:
    return sorted(f"{stage} jobs.{n}" for stage in stages for n in range(1, JOBS + 1))


@pytest.mark.parametrize("rootless", [False, True], ids=["root", "rootless"])
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGPWR])
def test_faults_8_process_1_hears_what_asks_it_to_stop(
    containers: Containers, number: signal.Signals, inside: bool, rootless: bool
) -> None:
    container = at_work(containers(rootless=rootless))
    container.kill(number, inside=inside)
    assert container.wait(DOCKER_STOP) == 0
    assert ledger(container) == expected("ready", "asked", "done")


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
def test_faults_8_quit_is_fast_and_hangup_reloads(containers: Containers, inside: bool) -> None:
    container = at_work(containers(seconds=60))
    text = container.procq.manifest.read_text()
    container.procq.save(text.replace(f"workers: {JOBS}", "workers: 1"))
    container.kill(signal.SIGHUP, inside=inside)
    until(lambda: "jobs" in container.procq.said() and container.procq.queue("jobs").desired == 1, "the reload")
    container.kill(signal.SIGQUIT, inside=inside)
    within(2.0, container.has_left, "the end of what was told to quit")
    assert container.wait() == 0
    assert not [line for line in ledger(container) if line.startswith("done")]


def test_faults_8_no_other_signal_does_anything(containers: Containers) -> None:
    container = at_work(containers())
    ours = {"SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGPWR", "SIGKILL", "SIGSTOP", "SIGTSTP", "SIGCONT", "SIGCHLD"}
    for number in signal.valid_signals():
        if getattr(number, "name", "") not in ours:
            container.kill(number, inside=False)
    assert container.running() == JOBS
    container.kill(signal.SIGTERM, inside=True)
    assert container.wait() == 0
    assert ledger(container) == expected("ready", "asked", "done")


def test_faults_8_strangers_without_a_parent_are_reaped(containers: Containers) -> None:
    """As `test-zombies` of dumb-init does it: whoever loses its parent in a container becomes a child of process 1."""
    container = at_work(containers())
    before = set(processes.children(container.init))
    with container.execute(*program("strangers.py", ORPHANS, 0.01)) as strangers:
        assert strangers.communicate()[0] == "left\n" and strangers.returncode == 0
    until(lambda: set(processes.children(container.init)) == before, f"{ORPHANS} strangers to be reaped")
    assert container.running() == JOBS
    container.kill(signal.SIGTERM, inside=False)
    assert container.wait() == 0


def test_faults_8_what_a_worker_leaves_is_reaped(containers: Containers) -> None:
    command = " ".join(program("strangers.py", 200, 0.01))
    manifest = f"queues:\n  w:\n    command: {command}\n    restart: on-failure\n"
    container = containers(manifest=manifest)
    until(lambda: container.procq.ready() and container.procq.status().workers[0].state == "finished", "its end")
    assert [pid for pid in container.inside() if not processes.exists(pid)] == []
    container.kill(signal.SIGTERM, inside=True)
    assert container.wait() == 0


def test_faults_8_process_1_kills_what_is_marked_and_waits_for_it(containers: Containers) -> None:
    """The keeper is gone, and a debugger keeps a worker: while that is there, process 1 stays, and no stranger dies."""
    container = at_work(containers())
    with container.execute("sh", "-c", "sleep 98765 >/dev/null & echo $!") as stranger:
        sleeper = container.outside(int(stranger.communicate()[0]))
    until(lambda: (stat := processes.stat(sleeper)) is not None and stat.parent == container.init, "the stranger")
    worker = container.outside(next(each.pid for each in container.procq.status().workers if each.pid))
    if ctypes.CDLL(None).ptrace(PTRACE_SEIZE, worker, 0, 0):
        pytest.skip("this machine lets nobody trace")
    os.kill(container.outside(container.procq.info().pid), signal.SIGKILL)
    until(lambda: not processes.exists(worker), "the end of the worker")
    throughout(0.5, lambda: not container.has_left() and processes.exists(sleeper), "the wait for what is marked")
    os.waitpid(worker, 0)
    assert container.wait() == 128 + signal.SIGKILL
    container.procq.tidy_up()


def test_faults_8_exit_codes(containers: Containers) -> None:
    invalid = containers(manifest="queues:\n  a:\n    command: true\n    workers: many\n")
    assert invalid.wait() == 4
    stopped = at_work(containers())
    stopped.procq.command("down")
    assert stopped.wait() == 0
    killed = at_work(containers(seconds=60))
    killed.kill(signal.SIGKILL, inside=False)
    assert killed.wait() != 0
    killed.procq.tidy_up()
    assert not [line for line in ledger(killed) if line.startswith("done")], "the kernel leaves no time for it"


def test_faults_8_a_shell_as_entry_point_that_has_children(containers: Containers) -> None:
    """`redis-server & exec procq up`: process 1 has a child that is none of procq's, and stands aside."""
    container = at_work(containers(entry=["sh", "-c", f"sleep 98765 & exec {PROCQ} up"]))
    assert len(processes.children(container.init)) == 2
    container.kill(signal.SIGTERM, inside=True)
    assert container.wait(DOCKER_STOP) == 0
    assert ledger(container) == expected("ready", "asked", "done")


def test_faults_8_a_sentinel_behind_process_1_that_is_killed_is_a_graceful_stop(containers: Containers) -> None:
    container = at_work(containers(entry=["sh", "-c", f"sleep 98765 & exec {PROCQ} up"]))
    os.kill(container.outside(container.procq.info().sentinel), signal.SIGKILL)
    assert container.wait(DOCKER_STOP) == 128 + signal.SIGKILL
    assert ledger(container) == expected("ready", "asked", "done")
