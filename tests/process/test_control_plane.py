"""Death and silence of the control plane: promise 4, FAULTS 20, 39, 45, 55."""

from __future__ import annotations

import os
import signal
import sys
import time
from random import Random

import pytest

from procq.cli.hosting import hosting
from tests.process.support import processes, writers
from tests.process.support.fixtures import Procqs
from tests.process.support.hosted import start_hosted
from tests.process.support.keeper import program
from tests.process.support.project import Procq
from tests.process.support.trials import CI, SEED
from tests.process.support.waiting import throughout, until

pytestmark = pytest.mark.process

WORKERS = 50
KILLS = 5
"""In one life of a keeper, which waits twice as long before each new start."""


def kill_at_random_moments(procq: Procq, trials: int, seed: int) -> None:
    """SIGKILL again and again, at any moment of a control plane's life: importing, attaching, serving."""
    random = Random(seed)
    for _ in range(trials):
        info = until(lambda: found if (found := procq.info()).control_plane else None, "a control plane")
        assert info is not None
        assert info.control_plane is not None
        _spend(random.random() * 0.3, info.control_plane)
        try:
            os.kill(info.control_plane, signal.SIGKILL)
        except ProcessLookupError:
            raise AssertionError("the control plane ended by itself") from None
        until(lambda before=info.starts: procq.info().starts > before, "the next one")  # type: ignore[misc]
    procq.control_plane()


def _spend(seconds: float, pid: int) -> None:
    """Lets a random moment pass in the life of a process."""
    deadline = time.monotonic() + seconds
    throughout(deadline - time.monotonic(), lambda: processes.exists(pid), "the life of the control plane")


def prove_that_a_control_plane_may_die(procq: Procq, trials: int, seed: int) -> None:
    """No worker restarted, no line lost, no order forgotten."""
    before = procq.workers()
    kill_at_random_moments(procq, trials, seed)
    assert procq.workers() == before
    assert [queue.restarts for queue in procq.status().queues] == [0]
    procq.command("down")
    written = writers.read_files(procq.folder.glob("w-*.log"))
    assert len(written) == WORKERS
    assert all(each.ended and each.lines > 10 for each in written.values())


@pytest.mark.parametrize("life", range(CI.control_kills // KILLS))
def test_faults_20_39_kill_9_at_random_moments_restarts_nobody_and_loses_no_line(procqs: Procqs, life: int) -> None:
    procq = procqs(writers.manifest(WORKERS)).start(WORKERS)
    prove_that_a_control_plane_may_die(procq, KILLS, SEED + life)


def test_no_exit_status_is_lost_while_there_is_no_control_plane(procqs: Procqs) -> None:
    """Workers end while it is dead; each is replaced, and `status` says how it ended."""
    procq = procqs(
        "queues:\n  w:\n    command: sleep 1000\n    workers: 6\n    restart:\n      backoff: 1ms..1ms\n"
    ).start(6)
    before, info = procq.workers(), procq.info()
    assert info.control_plane is not None
    os.kill(info.pid, signal.SIGSTOP)  # so that no new control plane is there too soon
    os.kill(info.control_plane, signal.SIGKILL)
    ends = dict(zip(before, (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGUSR1), strict=False))
    for worker, number in ends.items():
        os.kill(before[worker].pid, number)
    os.kill(info.pid, signal.SIGCONT)
    until(lambda: procq.ready() and procq.info().starts == info.starts + 1, "another control plane")
    after = procq.wait_running(6)
    assert {worker for worker in before if after[worker] != before[worker]} == set(ends)
    assert procq.queue("w").restarts == len(ends)
    shown = {each.id: each for each in procq.status().workers}
    told = {(event.worker, event.kind, event.text.split()[0].strip(",")) for event in procq.client.events(follow=False)}
    for worker, number in ends.items():
        sender = ", sender unknown" if number is signal.SIGKILL else ""
        assert shown[worker].last_exit == f"{number.name}{sender}"
        assert (worker, "exited", number.name) in told


def test_what_a_person_said_survives(procqs: Procqs) -> None:
    procq = procqs("queues:\n  a:\n    command: sleep 1000\n    workers: 2\n  b: sleep 1000\n").start(3)
    procq.command("scale", "a=5")
    procq.command("stop", "b")
    before = procq.wait_running(5)
    procq.kill_control_plane()
    assert procq.workers() == before
    assert (procq.queue("a").override, procq.queue("b").state) == (5, "stopped")
    procq.save("queues:\n  a:\n    command: sleep 1000\n    workers: 3\n  b: sleep 1000\n")
    procq.command("scale", "a=auto")
    procq.command("start", "b")
    assert set(procq.wait_running(4)) == {"a.1", "a.2", "a.3", "b.1"}


def test_an_edit_made_while_there_is_no_control_plane_is_taken_by_the_next(procqs: Procqs) -> None:
    text = "queues:\n  a:\n    command: sleep 1000\n    workers: {}\n"
    procq = procqs(text.format(2)).start(2)
    before, info = procq.workers(), procq.info()
    assert info.control_plane is not None
    os.kill(info.control_plane, signal.SIGSTOP)
    procq.save(text.format(4))
    os.kill(info.control_plane, signal.SIGKILL)
    after = procq.wait_running(4)
    assert {worker: after[worker] for worker in before} == before


def test_a_stop_goes_on_without_a_control_plane(procqs: Procqs) -> None:
    """The keeper itself runs the deadline, and the successor starts when the slot is free."""
    command = " ".join(program("stubborn.py", "pid"))
    text = "queues:\n  a:\n    command: {}\n    stop:\n      grace: 1s\n    env:\n      N: '{}'\n"
    procq = procqs(text.format(command, 1)).start(1)
    until((procq.folder / "pid").exists, "the worker")
    (before,) = procq.workers().values()
    procq.save(text.format(command, 2))
    until(lambda: procq.status().workers[0].state == "stopping", "the stop")
    control_plane = procq.control_plane()
    os.kill(control_plane, signal.SIGSTOP)
    until(lambda: not processes.is_the_same(before), "the deadline, without a control plane")
    os.kill(control_plane, signal.SIGKILL)
    assert procq.wait_running(1)["a.1"] != before


def test_a_control_plane_that_hangs_is_replaced(procqs: Procqs) -> None:
    """With a ping every 50 ms, so that two seconds of silence are enough to know."""
    procq = procqs(writers.manifest(5))
    start_hosted(procq, ping=0.05, silence=2.0).began()
    procq.wait_running(5)
    before, info = procq.workers(), procq.info()
    assert info.control_plane is not None
    os.kill(info.control_plane, signal.SIGSTOP)
    until(lambda: procq.info().starts > info.starts and procq.ready(), "another one")
    assert not processes.exists(info.control_plane)
    assert procq.workers() == before
    assert "does not answer" in procq.said()
    procq.command("down")
    written = writers.read_files(procq.folder.glob("w-*.log"))
    assert len(written) == 5
    assert all(each.ended for each in written.values())


def test_one_that_answers_is_left_alone(procqs: Procqs) -> None:
    procq = procqs("queues:\n  a: sleep 1000\n")
    start_hosted(procq, ping=0.05, silence=2.0).began()
    throughout(3.0, lambda: procq.info().starts == 1, "the first control plane")


def test_faults_45_a_control_plane_that_comes_back_during_a_shutdown_revives_nobody(procqs: Procqs) -> None:
    command = " ".join(program("stubborn.py", "pid"))
    procq = procqs(f"queues:\n  a:\n    command: {command}\n    stop:\n      grace: 1500ms\n").start(1)
    until((procq.folder / "pid").exists, "the worker")
    (before,) = procq.workers().values()
    procq.signal(signal.SIGTERM)
    until(lambda: procq.info().shutting_down, "the shutdown")
    control_plane = procq.info().control_plane
    if control_plane is not None:
        os.kill(control_plane, signal.SIGKILL)
    procq.save("queues:\n  a: sleep 1000\n  b: sleep 1000\n")
    assert procq.wait() == 0
    assert not processes.is_the_same(before)
    assert "b.1" not in procq.said()


def test_a_control_plane_that_cannot_start_does_not_keep_procq_for_ever(procqs: Procqs) -> None:
    procq = procqs("queues:\n  a: sleep 1000\n")
    control = [sys.executable, "-S", "-c", "raise SystemExit('nothing works here')"]
    assert start_hosted(procq, may_fail=True, control=control).wait() == 1
    assert "nothing works here" in procq.said()
    assert "giving up" in procq.said()


def test_what_a_dead_control_plane_had_started_ends(procqs: Procqs) -> None:
    """No worker is charged with it, and nobody waits for it any more."""
    procq = procqs("queues:\n  a: sleep 1000\n")
    script = '(sleep 12345 & exec sleep 12346) & setsid sleep 12347 & (sleep 12348 &); exec "$@"'
    command = hosting(procq.project, None, color=False).control
    start_hosted(procq, control=["sh", "-c", script, "sh", *command]).began()
    procq.wait_running(1)
    before, info = procq.workers(), procq.info()
    assert info.control_plane is not None
    seconds = [f"sleep {number}" for number in range(12345, 12349)]

    def started() -> list[int]:
        found = [pid for pid in procq.oracle.alive() if processes.command(pid) in seconds]
        return found if len(found) == len(seconds) else []

    first = until(started, "what it starts")
    os.kill(info.control_plane, signal.SIGKILL)
    until(lambda: not any(map(processes.exists, first)), "their end")
    until(lambda: procq.info().starts > info.starts and procq.ready(), "another one")
    assert procq.workers() == before
    until(started, "what the next one starts")
    # The keeper holds what has lost its parents, sooner or later: no measure of what is open.
    procq.command("down")
