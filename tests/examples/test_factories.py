"""The factories for libraries, with the real ones: a job in hand is finished when its worker is stopped.

A job in hand waits for a pipe: it is in hand for as long as the test does not write there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import procq
from procq.endings import ExitStatus
from tests.process.support import processes
from tests.process.support.fixtures import oracle, tier
from tests.process.support.oracle import Oracle
from tests.process.support.waiting import PATIENCE, until
from tests.servers.redis import redis_server

__all__ = ["oracle", "tier"]

pytestmark = [pytest.mark.examples, pytest.mark.process]

HUEY = """
from huey import SqliteHuey

huey = SqliteHuey(filename="queue.db")


@huey.task()
def work():
    open("began", "w").close()
    open("pipe").read()
    open("done", "w").close()
"""
CELERY = """
import os
from celery import Celery

app = Celery("slow", broker=os.environ["REDIS_URL"])
app.conf.update(broker_connection_retry_on_startup=True)


@app.task
def work():
    open("began", "w").close()
    open("pipe").read()
    open("done", "w").close()
"""


@pytest.fixture(autouse=True)
def place(oracle: Oracle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The working directory of the test: programs of this environment come first in its PATH."""
    monkeypatch.setenv(processes.COOKIE, oracle.cookie)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    yield tmp_path


def stopped_in_the_middle(worker: procq.WorkerProcess) -> None:
    until(Path("began").exists, lambda: f"the job to begin; so far: {[line.text for line in worker.output()]}")
    with pytest.raises(procq.StillRunning):
        worker.stop(timeout=0.2)
    Path("pipe").write_text("go on")
    assert worker.wait(PATIENCE) == ExitStatus(0), [line.text for line in worker.output()]
    assert Path("done").exists()


def test_huey() -> None:
    Path("slow.py").write_text(HUEY)
    factory = procq.WorkerFactory.huey()
    with procq.Manager(output=False) as manager:
        worker = manager.spawn(factory("slow.huey"), name="slow")
        subprocess.run([sys.executable, "-c", "import slow; slow.work()"], check=True)
        stopped_in_the_middle(worker)


def test_celery(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("slow.py").write_text(CELERY)
    with redis_server(place / "r") as socket:
        monkeypatch.setenv("REDIS_URL", f"redis+socket://{socket}")
        with procq.Manager(factory=procq.WorkerFactory.celery("slow"), output=False) as manager:
            manager.scale("celery", 1)
            assert manager.wait_until_running(PATIENCE)
            worker = manager.worker("celery.1")
            subprocess.run([sys.executable, "-c", "import slow; slow.work.delay()"], check=True)
            until(lambda: worker.pid and " -n celery.1@" in (processes.command(worker.pid) or ""), "Celery to be named")
            stopped_in_the_middle(worker)
