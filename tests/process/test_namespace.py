"""T3, everything in a PID namespace: when the keeper ends, the kernel ends all the others. FAULTS 9, 11."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.process.support import processes, tiers
from tests.process.support.fixtures import Procqs
from tests.process.support.injecting import can_trace
from tests.process.support.keeper import program, read_when_written
from tests.process.support.oracle import Oracle
from tests.process.support.project import PROCQ, Procq
from tests.process.support.waiting import PATIENCE, until, within

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(tiers.lacking(3) is not None, reason=str(tiers.lacking(3))),
    pytest.mark.parametrize("tier", [3], indirect=True, ids=["T3"]),
]

GRACE = 0.4


def start(procqs: Procqs, tmp_path: Path) -> Procq:
    """Polite workers, and a daemon without mark, cookie and pipe that ignores TERM."""
    daemon = program("daemon.py", tmp_path / "daemon", "--ignore-term", "--clear-env", "--clear-mark")
    manifest = f"""\
defaults:
  stop:
    grace: {GRACE}s
queues:
  polite:
    command: {" ".join(program("job.py", tmp_path / "ledger", 0.1))}
    workers: 2
  daemon: {" ".join(daemon)}
"""
    procq = procqs(manifest)
    begin(procq, tmp_path)
    return procq


def begin(procq: Procq, folder: Path) -> None:
    """Starts it, perhaps not for the first time."""
    for name in ("daemon", "ledger"):
        (folder / name).unlink(missing_ok=True)
    procq.start()
    read_when_written(folder / "daemon")
    until(lambda: (folder / "ledger").read_text().count("ready") == 2, "the polite ones")


def namespace(pid: int | str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def members(of: str) -> list[int]:
    """Everybody who lives in a namespace, by their numbers outside."""
    return [pid for pid in processes.pids() if namespace(pid) == of and processes.exists(pid)]


def test_keeper_control_plane_and_workers_are_in_it_and_everything_works(
    procqs: Procqs, tmp_path: Path, tier: int
) -> None:
    procq = start(procqs, tmp_path)
    info, inside = procq.info(), namespace(procq.info().pid)
    assert inside != namespace("self") == namespace(info.sentinel)
    assert len(members(inside)) == 6, "keeper, control plane, three leaders, a daemon"
    assert (processes.stat(info.pid) or pytest.fail("no keeper")).parent == info.sentinel
    assert procq.status().tier == info.tier == 3
    assert procq.status().keeper_pid == info.pid
    assert {worker.state for worker in procq.status().workers} == {"running"}
    assert "polite.1" in procq.command("status", "*")
    assert "in T3" in procq.command("doctor")
    procq.command("scale", "polite=3")
    until(lambda: procq.queue("polite").running == 3, "one more")
    procq.command("logs", "--tail", "1")
    procq.command("down")
    assert procq.wait() == 0
    assert members(inside) == []
    assert (tmp_path / "ledger").read_text().count("done") == 3


@pytest.mark.parametrize("both", [False, True], ids=["keeper", "both"])
def test_faults_9_11_kill_9_leaves_nothing_whatever_has_been_done_to_hide(
    procqs: Procqs, oracle: Oracle, tmp_path: Path, tier: int, both: bool
) -> None:
    procq = start(procqs, tmp_path)
    kill_leaves_nothing(procq, oracle, both)
    # What nobody was there to remove goes at the next start.
    procq.start()
    procq.command("down")
    assert procq.wait() == 0


def kill_leaves_nothing(procq: Procq, oracle: Oracle, both: bool) -> None:
    """Kills the keeper, and the sentinel just before where `both` is true."""
    info, inside = procq.info(), namespace(procq.info().pid)
    if both:
        os.kill(info.sentinel, signal.SIGKILL)
    os.kill(info.pid, signal.SIGKILL)
    within(1.0, lambda: not members(inside), "the end of everybody")
    assert procq.wait() in (-signal.SIGKILL, 128 + signal.SIGKILL)
    until(lambda: not oracle.alive(), "the end of all")
    assert both or "the keeper was ended by signal 9, and everything that it ran was killed" in procq.said()


def test_kill_9_of_the_sentinel_is_a_graceful_stop(procqs: Procqs, tmp_path: Path, tier: int) -> None:
    procq = start(procqs, tmp_path)
    inside = namespace(procq.info().pid)
    os.kill(procq.info().sentinel, signal.SIGKILL)
    procq.wait()
    within(GRACE + 1.0, lambda: not members(inside), "the end of everybody after the sentinel")
    assert (tmp_path / "ledger").read_text().count("done") == 2


@pytest.mark.skipif(not can_trace(), reason="needs strace, and the right to attach it")
def test_where_it_cannot_be_had_that_is_an_error_that_says_so(procqs: Procqs, tmp_path: Path, tier: int) -> None:
    procq = procqs("queues:\n  a: sleep 1000\n")
    for refused in ("unshare:error=EPERM", "mount:error=EACCES"):
        command = ["strace", "-f", "-o", "/dev/null", f"--inject={refused}", str(PROCQ), "up", "--tier", "3"]
        done = subprocess.run(
            command, cwd=procq.folder, env=procq.environment, capture_output=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 1, refused
        assert b"tier T3 cannot be had" in done.stderr, refused
        assert b"procq doctor" in done.stderr
