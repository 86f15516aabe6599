"""How a project ends: `procq down`, ^C, ^\\, ^Z, SIGTERM, a closed terminal, a reader that goes. FAULTS 26, 27, 53."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.support import processes
from tests.process.support.fixtures import Procqs
from tests.process.support.keeper import program
from tests.process.support.oracle import Oracle
from tests.process.support.project import PROCQ, Procq
from tests.process.support.terminal import Terminal
from tests.process.support.trials import CI
from tests.process.support.waiting import PATIENCE, throughout, until, within

pytestmark = pytest.mark.process
EACH_TIER = True

POLITE = 4
GRACE = 3.0


def mixed(seconds: float = 0.2) -> str:
    """Workers that finish a job on TERM, one that ignores it, one with a daemon, and one that will be stopped."""
    return f"""\
defaults:
  stop:
    grace: {GRACE}s
queues:
  polite:
    command: {" ".join(program("job.py", "ledger", seconds))}
    workers: {POLITE}
  stubborn:
    command: {" ".join(program("stubborn.py", "stubborn"))}
    stop:
      grace: 400ms
  daemon:
    command: {" ".join(program("daemon.py", "daemon", "--ignore-term", "--clear-env"))}
    stop:
      grace: 400ms
"""


def start(procqs: Procqs, seconds: float = 0.2) -> Procq:
    return settled(procqs(mixed(seconds)).start(POLITE + 2))


def settled(procq: Procq) -> Procq:
    until(lambda: len(ledger(procq)) == POLITE and (procq.folder / "daemon").exists(), "the workers")
    until((procq.folder / "stubborn").exists, "the stubborn worker")
    return procq


def ledger(procq: Procq) -> list[str]:
    file = procq.folder / "ledger"
    return file.read_text().splitlines() if file.exists() else []


def every_job_was_finished(procq: Procq) -> bool:
    expected = [f"{what} polite.{n}" for what in ("ready", "asked", "done") for n in range(1, POLITE + 1)]
    return sorted(ledger(procq)) == sorted(expected)


def down_leaves_nothing(procqs: Procqs, oracle: Oracle) -> None:
    procq = start(procqs, 0.05)
    said = procq.command("down")
    assert procq.wait() == 0
    assert oracle.alive() == []
    assert every_job_was_finished(procq)
    assert f"stopped {POLITE + 2} workers, 2 processes had to be killed" in said


@pytest.mark.parametrize("trial", range(CI.downs))
def test_down_leaves_nothing_and_lets_every_handler_finish(procqs: Procqs, oracle: Oracle, trial: int) -> None:
    down_leaves_nothing(procqs, oracle)


def test_down_now_asks_nobody(procqs: Procqs) -> None:
    procq = start(procqs)
    procq.command("down", "--now")
    assert procq.wait() == 0
    assert not [line for line in ledger(procq) if line.startswith("asked")]


def test_down_works_while_the_control_plane_hangs(procqs: Procqs) -> None:
    procq = start(procqs)
    os.kill(procq.control_plane(), signal.SIGSTOP)
    procq.command("down")
    assert procq.wait() == 0
    assert every_job_was_finished(procq)


def test_down_of_what_does_not_run(procqs: Procqs) -> None:
    assert "is not running" in procqs("queues:\n  a: sleep 1\n").command("down", code=3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_sentinel_is_a_graceful_stop(procqs: Procqs, number: signal.Signals) -> None:
    procq = start(procqs)
    procq.signal(number)
    assert procq.wait() == 0
    assert every_job_was_finished(procq)


def test_faults_53_a_stopped_worker_hears_of_the_end(procqs: Procqs) -> None:
    procq = start(procqs)
    for worker in procq.workers("polite").values():
        os.kill(worker.pid, signal.SIGSTOP)
    procq.signal(signal.SIGTERM)
    assert procq.wait() == 0
    assert every_job_was_finished(procq)


@pytest.fixture
def terminals(procqs: Procqs) -> Callable[..., tuple[Procq, Terminal]]:
    def make(seconds: float = 0.2) -> tuple[Procq, Terminal]:
        procq = procqs(mixed(seconds))
        terminal = Terminal(procq)
        settled(procq.began(POLITE + 2))
        return procq, terminal

    return make


Terminals = Callable[..., tuple[Procq, Terminal]]


def test_faults_26_one_interrupt_is_graceful_and_heard_once(terminals: Terminals) -> None:
    procq, terminal = terminals()
    terminal.press(b"\x03")
    assert terminal.wait() == 0
    assert every_job_was_finished(procq), "the workers have not heard the terminal's own ^C"
    assert b"interrupted: stopping 6 workers" in terminal.screen


def test_faults_26_the_second_interrupt_is_fast(terminals: Terminals) -> None:
    procq, terminal = terminals(seconds=60)
    terminal.press(b"\x03")
    until(lambda: len(ledger(procq)) == 2 * POLITE, "all to be asked")
    terminal.press(b"\x03")
    within(1.0, lambda: not processes.exists(terminal.pid), "the end after the second ^C")
    assert terminal.wait() == 0
    assert not [line for line in ledger(procq) if line.startswith("done")]


def test_quit_is_fast(terminals: Terminals) -> None:
    procq, terminal = terminals(seconds=60)
    terminal.press(b"\x1c")
    within(1.0, lambda: not processes.exists(terminal.pid), "the end after ^\\")
    assert terminal.wait() == 0
    assert not [line for line in ledger(procq) if line.startswith("asked")]


def test_faults_27_suspended_and_continued(terminals: Terminals) -> None:
    procq, terminal = terminals()
    before = procq.workers()
    terminal.press(b"\x1a")
    until(terminal.stopped, "the job to stop")
    assert procq.workers() == before, "the workers, and procq itself, go on"
    assert all(stat.state != "T" for stat in procq.workers().values())
    terminal.foreground()
    until(lambda: (s := processes.stat(terminal.pid)) and s.state != "T", "the job to go on")
    terminal.press(b"\x03")
    assert terminal.wait() == 0
    assert every_job_was_finished(procq)


def test_faults_27_a_closed_terminal_is_a_graceful_stop(terminals: Terminals) -> None:
    procq, terminal = terminals()
    terminal.close()
    assert terminal.wait() == 0
    assert every_job_was_finished(procq)


def test_detached_it_outlives_the_terminal(procqs: Procqs, oracle: Oracle) -> None:
    procq = procqs("name: store\nqueues:\n  a: sleep 1000\n")
    said = procq.command("up", "-d", str(procq.manifest))
    assert "store runs" in said
    procq.began(1)
    before = procq.workers()
    os.kill(procq.info().sentinel, signal.SIGHUP)
    throughout(0.2, lambda: procq.workers() == before, "the life of the workers")
    (procq.folder / "state").mkdir(exist_ok=True)
    procq.command("down")
    until(lambda: oracle.alive() == [], "the end of everything")


def test_a_reader_of_the_output_that_leaves_kills_nobody(procqs: Procqs) -> None:
    """As `procq up | head -1`."""
    reader, writer = os.pipe()
    lines = " ".join(program("lines.py", "w"))
    procq = procqs(f"queues:\n  w:\n    command: {lines}\n    workers: 3\n    logs:\n      file: w-{{slot}}.log\n")
    with open(writer, "wb") as stdout:
        procq.start(3, stdout=stdout)
    before = procq.workers()
    assert os.read(reader, 1)
    os.close(reader)
    sizes = {file: file.stat().st_size for file in procq.folder.glob("w-*.log")}
    until(lambda: all(file.stat().st_size > size for file, size in sizes.items()), "more lines")
    assert procq.workers() == before
    assert len(sizes) == 3


def test_children_that_were_there_before_procq_are_none_of_its_business(procqs: Procqs, tmp_path: Path) -> None:
    """As `redis-server & exec procq up`."""
    procq = procqs("queues:\n  a: sleep 1000\n")
    script = f"sleep 1000 & echo $! > {tmp_path / 'before'}; exec {PROCQ} up {procq.manifest}"
    with open(procq.output, "ab") as output:
        procq.process = subprocess.Popen(["/bin/sh", "-c", script], env=procq.environment, stdout=output, stderr=output)
    procq.began(1)
    before = int((tmp_path / "before").read_text())
    try:
        procq.signal(signal.SIGTERM)
        assert procq.wait(PATIENCE) == 0
        assert processes.exists(before)
    finally:
        os.kill(before, signal.SIGKILL)


def test_faults_11_kill_9_of_the_keeper_of_a_whole_procq_leaves_nothing(procqs: Procqs, oracle: Oracle) -> None:
    procq = start(procqs)
    os.kill(procq.info().pid, signal.SIGKILL)
    within(1.0, lambda: not oracle.alive(), "the end of everything after the keeper")
    assert procq.wait() == 128 + signal.SIGKILL
    # The sockets that are left behind are no obstacle for the next one.
    (procq.folder / "ledger").unlink()
    settled(procq.start(POLITE + 2))


def test_kill_9_of_the_sentinel_of_a_whole_procq_is_a_graceful_stop(procqs: Procqs, oracle: Oracle) -> None:
    procq = start(procqs)
    procq.signal(signal.SIGKILL)
    procq.wait()
    within(GRACE + 1.0, lambda: not oracle.alive(), "the end of everything after the sentinel")
    assert every_job_was_finished(procq)


def test_down_counts_whom_it_killed_itself_and_nobody_before(procqs: Procqs) -> None:
    procq = start(procqs)
    procq.command("stop", "stubborn")
    procq.command("stop", "daemon")
    said = procq.command("down")
    assert f"stopped {POLITE} workers" in said
    assert "killed" not in said
