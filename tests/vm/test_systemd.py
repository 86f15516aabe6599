"""`procq unit` under a real systemd: start, reload, watchdog, stop, deaths. FAULTS 50, 58."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.vm.support import Service, run, until

pytestmark = pytest.mark.vm

JOB = Path(__file__).parents[1] / "process" / "workers" / "job.py"
Services = Callable[[str], Service]


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    made: list[Service] = []

    def make(manifest: str) -> Service:
        made.append(Service(tmp_path, f"trial-{tmp_path.name}", manifest))
        return made[-1]

    yield make
    for service in made:
        service.remove()


def jobs(folder: Path, grace: str = "10s") -> str:
    command = f"{sys.executable} -I -S {JOB} {folder / 'ledger'} 0.3"
    return f"queues:\n  a:\n    command: {command}\n    workers: 2\n    stop:\n      grace: {grace}\n"


def ledger(folder: Path) -> list[str]:
    file = folder / "ledger"
    return sorted(line.split()[0] for line in file.read_text().splitlines()) if file.exists() else []


def test_systemd_finds_nothing_wrong_with_the_unit(services: Services) -> None:
    service = services("queues:\n  a: sleep 1000\n")
    assert run("systemd-analyze", "verify", str(service.unit)) == ""


def test_active_means_that_the_queues_run_and_a_stop_lets_jobs_finish(services: Services, tmp_path: Path) -> None:
    service = services(jobs(tmp_path))
    service.systemctl("start")
    assert [worker["state"] for worker in service.workers()] == ["running"] * 2
    assert service.show("StatusText") == "2 of 2 workers"
    assert service.show("MainPID") != "0"
    until(lambda: ledger(tmp_path) == ["ready"] * 2, "the jobs")
    service.systemctl("stop")
    assert service.show("Result") == "success"
    assert service.show("ExecMainStatus") == "0"
    assert ledger(tmp_path) == ["asked"] * 2 + ["done"] * 2 + ["ready"] * 2


def test_a_stop_takes_as_long_as_the_manifest_says_now(services: Services, tmp_path: Path) -> None:
    """The unit is older than the manifest: without EXTEND_TIMEOUT_USEC systemd would kill after a second."""
    service = services(jobs(tmp_path).replace(" 0.3\n", " 4\n"))
    service.configure(TimeoutStopSec="1")
    service.systemctl("start")
    until(lambda: ledger(tmp_path) == ["ready"] * 2, "the jobs")
    service.systemctl("stop")
    assert service.show("Result") == "success"
    assert ledger(tmp_path).count("done") == 2


def test_reload_puts_the_manifest_in_force(services: Services) -> None:
    service = services("queues:\n  a: sleep 1000\n")
    service.systemctl("start")
    main, (before,) = service.show("MainPID"), service.workers()
    service.manifest.write_text("queues:\n  a: sleep 1000\n  b: sleep 1000\n")
    service.systemctl("reload")
    assert service.show("ActiveState") in ("active", "reloading")
    until(lambda: service.show("StatusText") == "2 of 2 workers", "the new queue", service.journal)
    assert service.show("ActiveState") == "active"
    assert service.show("MainPID") == main
    assert before["pid"] in [worker["pid"] for worker in service.workers()]


def test_the_first_manifest_is_not_valid(services: Services) -> None:
    service = services("queues:\n  a: sleep 1000\n")
    service.manifest.write_text("queues:\n  a:\n    workers: many\n")
    service.systemctl("start", code=None)
    assert service.show("ExecMainStatus") == "4"
    assert service.show("NRestarts") == "0"


def test_one_that_hangs_is_replaced_by_the_watchdog(services: Services) -> None:
    service = services("queues:\n  a: sleep 1000\n")
    service.configure(WatchdogSec="3", TimeoutStopSec="2")
    service.systemctl("start")
    main = int(service.show("MainPID"))
    os.kill(main, signal.SIGSTOP)
    until(lambda: service.show("NRestarts") == "1", "the watchdog", service.journal)
    until(lambda: service.show("ActiveState") == "active", "the next one", service.journal)
    assert int(service.show("MainPID")) != main
    assert len([worker for worker in service.workers() if worker["state"] == "running"]) == 1


def test_sentinel_and_keeper_killed_at_once_leave_nothing(services: Services) -> None:
    """In T1 alone their workers' trees may live on: here the service manager ends the cgroup."""
    command = "(setsid sleep 1000 &) ; exec sleep 1000"
    service = services(f"queues:\n  a:\n    command: {command}\n    shell: yes\n    workers: 3\n")
    service.systemctl("start")
    service.configure(Restart="no")
    main = int(service.show("MainPID"))
    keeper = int(Path(f"/proc/{main}/task/{main}/children").read_text().split()[0])
    before = service.inside()
    assert len(before) > 6
    for pid in (main, keeper):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before), "the end of all", service.journal)


def test_faults_50_a_jump_of_the_clock_changes_no_timer(services: Services, tmp_path: Path) -> None:
    service = services(jobs(tmp_path))
    service.systemctl("start")
    before = {worker["pid"] for worker in service.workers()}
    for jump in ("+1 day", "-2 days", "+1 day"):
        run("date", "-s", jump)
        assert {worker["pid"] for worker in service.workers()} == before
        assert all(worker["age"] < 3600 and worker["restarts"] == 0 for worker in service.workers())
    os.kill(min(before), signal.SIGKILL)
    until(lambda: sum(w["state"] == "running" for w in service.workers()) == 2, "the replacement", service.journal)
    run("date", "-s", "+1 day")
    service.systemctl("stop")
    assert service.show("Result") == "success"
    assert ledger(tmp_path).count("done") == 2
    run("date", "-s", "-1 day")


def test_each_worker_has_a_cgroup_of_its_own(services: Services) -> None:
    service = services("queues:\n  a:\n    command: sleep 1000\n    workers: 2\n")
    service.systemctl("start")
    groups = {Path(f"/proc/{worker['pid']}/cgroup").read_text().strip() for worker in service.workers()}
    assert len(groups) == 2
    assert all(group.startswith(f"0::{service.show('ControlGroup')}/") for group in groups)


def test_faults_58_out_of_memory_is_told_from_a_kill(services: Services) -> None:
    eat = f"{sys.executable} -c 'x = bytearray(200 << 20); import time; time.sleep(1000)'"
    manifest = f"""\
queues:
  leader:
    command: {eat}
    limits:
      memory: 50MB
  killed: sleep 1000
"""
    service = services(manifest)
    service.systemctl("start")
    killed = next(worker for worker in service.workers() if worker["queue"] == "killed")
    os.kill(killed["pid"], signal.SIGKILL)

    def told() -> str:
        said = service.procq("events")
        return said if "memory" in said and "killed.1" in said else ""

    events = until(told, "the ends", service.journal)
    mine = [line for line in events.splitlines() if "killed.1" in line]
    assert not [line for line in mine if "memory" in line], events
    assert [line for line in events.splitlines() if "leader.1" in line and "memory" in line], events
    assert service.show("ActiveState") == "active"
