"""What is left when sentinel and keeper are killed in the same instant, and its end when the project starts again."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.process.support import processes
from tests.process.support.fixtures import Procqs
from tests.process.support.keeper import program, read_when_written
from tests.process.support.processes import Stat
from tests.process.support.project import PROCQ, Procq
from tests.process.support.waiting import until

pytestmark = pytest.mark.process
EACH_TIER = True


def manifest(folder: Path, *options: str) -> str:
    command = " ".join(program("daemon.py", folder / "daemon", *options))
    return f"queues:\n  a:\n    command: {command}\n    stop:\n      grace: 200ms\n"


def kill_both(procq: Procq) -> None:
    """In the same instant: neither can act on the end of the other."""
    info = procq.info()
    for pid in (info.sentinel, info.pid):
        os.kill(pid, signal.SIGSTOP)
    for pid in (info.sentinel, info.pid):
        os.kill(pid, signal.SIGKILL)
    procq.wait()


def left_behind(procqs: Procqs, tmp_path: Path, *options: str) -> tuple[Procq, Stat]:
    """A project whose daemon has outlived it."""
    procq = procqs(manifest(tmp_path, *options)).start(1)
    found = processes.stat(int(read_when_written(tmp_path / "daemon")))
    assert found is not None
    leader = procq.workers()["a.1"]
    kill_both(procq)
    until(lambda: not processes.is_the_same(leader), "the leader to die by its death signal")
    assert processes.is_the_same(found), "nobody is there to end it"
    (tmp_path / "daemon").unlink()
    return procq, found


@pytest.mark.parametrize("options", [[], ["--ignore-term", "--clear-env"]], ids=["polite", "stubborn"])
def test_faults_9_11_it_is_ended_before_the_first_worker_starts_and_that_is_told(
    procqs: Procqs, tmp_path: Path, tier: int, options: list[str]
) -> None:
    procq, found = left_behind(procqs, tmp_path, *options)
    procq.start(1)
    assert not processes.is_the_same(found)
    killed = 1 if options else 0
    assert f"ended 1 process that an earlier life had left, {killed} by SIGKILL" in procq.said()
    procq.command("down")
    assert procq.wait() == 0
    procq.start(1)
    assert procq.said().count("an earlier life") == 1, "the second start has nothing to tell"


def test_faults_1_strangers_live(procqs: Procqs, tmp_path: Path, tier: int) -> None:
    """A worker of another project, and one who has the cookie from somewhere and was not born there: this is told."""
    other = procqs("queues:\n  b: sleep 1000\n").start(1)
    theirs = other.workers()["b.1"]
    procq = procqs(manifest(tmp_path, "--ignore-term")).start(1)
    instance = processes.instance(procq.control_plane())
    read_when_written(tmp_path / "daemon")
    kill_both(procq)
    (tmp_path / "daemon").unlink()
    environ = {**os.environ, "PROCQ_INSTANCE": f"{instance:x}", "PROCQ_GENERATION": "1"}
    with subprocess.Popen(["sleep", "1000"], env=environ) as stranger:
        try:
            procq.start(1)
            assert "left alone 1 process with the cookie of an earlier life and without its mark" in procq.said()
            assert stranger.poll() is None
            assert processes.is_the_same(theirs)
        finally:
            stranger.kill()


def test_a_spoilt_record_keeps_nobody_from_starting(procqs: Procqs, tmp_path: Path, tier: int) -> None:
    procq = procqs("queues:\n  a: sleep 1000\n")
    procq.project.prepare()
    record = Path(procq.project.run_dir) / "life"
    record.write_bytes(b"1 nonsense\n\xff\xfe\n1 boot zz 0 0 \n")
    procq.start(1)
    procq.command("down")
    assert procq.wait() == 0
    assert not record.exists()


def test_who_starts_it_from_a_worker_of_the_earlier_life_lives(procqs: Procqs, tmp_path: Path, tier: int) -> None:
    """It carries the mark of that life itself, as do those who have started it."""
    procq, found = left_behind(procqs, tmp_path, "--ignore-term")
    mark = processes.mark(found.pid)
    assert mark is not None
    marked = ["prlimit", f"--locks={mark}:", "sh", "-c", '"$0" up -d; exit $?', str(PROCQ)]
    done = subprocess.run(marked, cwd=procq.folder, env=procq.environment, timeout=60, check=False)
    assert done.returncode == 0
    assert not processes.is_the_same(found)
    procq.command("down")
