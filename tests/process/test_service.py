"""What procq says to the service manager that started it, heard by a real socket; FAULTS 45."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from procq.errors import ProcqError
from tests.process.support import processes
from tests.process.support.fixtures import Procqs
from tests.process.support.keeper import program
from tests.process.support.project import Procq
from tests.process.support.service import Ear
from tests.process.support.waiting import throughout, until

pytestmark = pytest.mark.process

TWO = "queues:\n  a: sleep 1000\n  b: sleep 1000\n"
BROKEN = "queues:\n  a:\n    command: sleep 1000\n    workers: many\n"
WATCHDOG = 0.6
"""Seconds after which this manager would take procq for hung: it expects three signs of life in that time."""

Services = Callable[..., tuple[Procq, Ear]]


@pytest.fixture
def services(procqs: Procqs) -> Iterator[Services]:
    with ExitStack() as cleanup:

        def make(manifest: str = TWO, *, watchdog: float | None = None, abstract: bool = False) -> tuple[Procq, Ear]:
            ear, procq = Ear(abstract=abstract), procqs(manifest)
            cleanup.callback(ear.close)
            procq.environment["NOTIFY_SOCKET"] = ear.address
            if watchdog is not None:
                procq.environment["WATCHDOG_USEC"] = str(round(watchdog * 1e6))
            return procq, ear

        yield make


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_ready_when_the_queues_run_and_only_the_main_process_says_so(services: Services, abstract: bool) -> None:
    procq, ear = services(abstract=abstract)
    procq.start(2)
    ear.until("READY", "1")
    assert procq.process is not None
    assert ear.last("MAINPID") == str(procq.process.pid)
    assert ear.last("STATUS") == "2 of 2 workers"
    procq.signal(signal.SIGTERM)
    ear.until("STOPPING", "1")
    assert procq.wait() == 0
    assert ear.senders == {procq.process.pid}


def test_not_ready_before_what_comes_after_something_else_runs_too(services: Services, tmp_path: Path) -> None:
    """The first queue waits to be executed: its program is not there yet."""
    late = tmp_path / "late"
    first = f"  first:\n    command: {late}\n    restart:\n      backoff: 50ms..100ms\n"
    procq, ear = services(f"queues:\n{first}  second:\n    command: sleep 1000\n    after: first\n")
    procq.start()
    # The failure is known, and somebody has to look after it: a unit that never becomes active would not help.
    ear.until("READY", "1")
    ear.until("STATUS", "0 of 2 workers; failing: first")
    late.write_text("#!/bin/sh\nexec sleep 1000\n")
    late.chmod(0o755)
    ear.until("STATUS", "2 of 2 workers")


def test_a_reload_begins_and_ends(services: Services) -> None:
    procq, ear = services()
    procq.start(2)
    began = ear.until("READY", "1")
    before = time.monotonic_ns() // 1000
    procq.save(TWO.replace("b: sleep 1000", "b: sleep 2000"))
    procq.signal(signal.SIGHUP)
    reloading = ear.until("RELOADING", "1", began)
    assert int(ear.heard[reloading - 1]["MONOTONIC_USEC"]) >= before
    ear.until("READY", "1", reloading)
    assert "sleep 2000" in [queue.command for queue in procq.status().queues]


def test_a_reload_of_what_is_not_valid_ends_too_and_says_so(services: Services) -> None:
    procq, ear = services()
    procq.start(2)
    began = ear.until("READY", "1")
    procq.save(BROKEN)
    procq.signal(signal.SIGHUP)
    ear.until("READY", "1", ear.until("RELOADING", "1", began))
    assert ear.last("STATUS") == "2 of 2 workers; the manifest on disk is not valid, and not in force"


def test_a_reload_whose_control_plane_dies_ends_with_the_next_one(services: Services) -> None:
    procq, ear = services()
    procq.start(2)
    began = ear.until("READY", "1")
    os.kill(procq.control_plane(), signal.SIGSTOP)
    procq.signal(signal.SIGHUP)
    reloading = ear.until("RELOADING", "1", began)
    os.kill(procq.info().control_plane or 0, signal.SIGKILL)
    ear.until("READY", "1", reloading)


def test_the_manager_learns_how_long_the_end_may_take(services: Services) -> None:
    """The manifest may have got longer grace periods since the unit was written."""
    job = " ".join(program("job.py", "ledger", 0.2))
    procq, ear = services(f"queues:\n  a:\n    command: {job}\n    stop:\n      grace: 100s\n")
    procq.start(1)
    until((procq.folder / "ledger").exists, "the job")
    procq.signal(signal.SIGTERM)
    ear.until("STOPPING", "1")
    assert procq.wait() == 0
    assert 100e6 < int(ear.last("EXTEND_TIMEOUT_USEC")) < 130e6
    assert ear.last("STATUS") == "terminated"


def test_signs_of_life_while_all_three_live(services: Services) -> None:
    procq, ear = services(watchdog=WATCHDOG)
    procq.start(2)
    ear.until("READY", "1")
    seen = ear.count("WATCHDOG")
    until(lambda: ear.count("WATCHDOG") >= seen + 3, "signs of life")


@pytest.mark.parametrize("whom", ["sentinel", "keeper"])
def test_no_sign_of_life_from_who_hangs(services: Services, whom: str) -> None:
    procq, ear = services(watchdog=WATCHDOG)
    procq.start(2)
    until(lambda: ear.count("WATCHDOG") > 0, "signs of life")
    info = procq.info()
    victim = info.sentinel if whom == "sentinel" else info.pid
    os.kill(victim, signal.SIGSTOP)
    until(lambda: (stat := processes.stat(victim)) is not None and stat.state == "T", "the stop")
    seen = ear.count("WATCHDOG")
    throughout(3 * WATCHDOG, lambda: ear.count("WATCHDOG") <= seen + 1, "the silence")
    os.kill(victim, signal.SIGCONT)
    until(lambda: ear.count("WATCHDOG") > seen + 1, "signs of life again")


def test_no_sign_of_life_without_a_control_plane_that_works(services: Services) -> None:
    procq, ear = services(watchdog=WATCHDOG)
    procq.start(2)
    before = procq.workers()
    until(lambda: ear.count("WATCHDOG") > 0, "signs of life")
    kill_control_plane(procq)
    seen = ear.count("WATCHDOG")

    def silent() -> bool:
        kill_control_plane(procq)
        return ear.count("WATCHDOG") <= seen

    throughout(3 * WATCHDOG, silent, "the silence")
    until(lambda: ear.count("WATCHDOG") > seen, "signs of life again")
    procq.began(2)
    assert procq.workers() == before


def kill_control_plane(procq: Procq) -> None:
    with contextlib.suppress(ProcqError, ProcessLookupError):
        pid = procq.client.info().control_plane
        if pid is not None:
            os.kill(pid, signal.SIGKILL)


def test_workers_and_control_plane_know_nothing_of_the_manager(services: Services) -> None:
    procq, ear = services(watchdog=WATCHDOG)
    workers = procq.start(2).workers()
    ear.until("READY", "1")
    for pid in (*(worker.pid for worker in workers.values()), procq.info().pid, procq.control_plane()):
        found = processes.environment(pid)
        assert found.get("NOTIFY_SOCKET") != ear.address
        assert not {"WATCHDOG_USEC", "WATCHDOG_PID"} & found.keys()


def test_a_manager_that_has_gone_is_no_trouble(services: Services) -> None:
    procq, ear = services(watchdog=0.05)
    procq.start(2)
    ear.until("READY", "1")
    os.unlink(ear.address)
    ear.close()
    procq.save(TWO + "  c: sleep 1000\n")
    procq.wait_running(3)
    procq.signal(signal.SIGTERM)
    assert procq.wait() == 0


def test_faults_45_a_reload_while_everything_is_stopped_starts_nothing(services: Services) -> None:
    job = " ".join(program("job.py", "ledger", 1.0))
    manifest = f"queues:\n  jobs:\n    command: {job}\n    workers: 2\n"
    procq, ear = services(manifest)
    procq.start(2)
    ledger = procq.folder / "ledger"
    until(lambda: ledger.exists() and ledger.read_text().count("ready") == 2, "the jobs")
    ear.until("READY", "1")
    procq.signal(signal.SIGTERM)
    stopping = ear.until("STOPPING", "1")
    until(lambda: ledger.read_text().count("asked") == 2, "both to be asked")
    while not procq.has_left():
        procq.save(manifest.replace("workers: 2", "workers: 5") + f"  more: {job}\n")
        procq.signal(signal.SIGHUP)
        procq.signal(signal.SIGTERM)
    assert procq.wait() == 0
    words = sorted(line.split()[0] for line in ledger.read_text().splitlines())
    assert words == ["asked"] * 2 + ["done"] * 2 + ["ready"] * 2
    assert not [message for message in ear.listen()[stopping:] if message.keys() & {"RELOADING", "READY"}]
