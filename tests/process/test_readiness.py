"""Who is ready when, and who waits for it: workers with real ports and real servers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.process.support.fixtures import Procqs
from tests.process.support.project import PROCQ, Procq
from tests.process.support.serving import SERVER, asked, free_ports
from tests.process.support.waiting import throughout, until

pytestmark = pytest.mark.process

NOT_YET = 1.5
"""Seconds in which somebody who is asked every second at the least has been asked again."""


def manifest(ready: str, port: int, timeout: str = "60s") -> str:
    return f"""\
queues:
  server:
    command: {sys.executable} {SERVER} {port}
    ready:
      {ready}
      timeout: {timeout}
  client:
    command: sleep 1000
    after: server
"""


def running(procq: Procq, queue: str) -> bool:
    return bool(procq.workers(queue))


def begin(procqs: Procqs, text: str) -> Procq:
    """Runs it, and returns once the server executes: it is not ready yet, so neither is procq."""
    made = procqs(text)
    with open(made.output, "ab") as output:
        made.process = subprocess.Popen(
            [PROCQ, "up", made.manifest],
            cwd=made.folder,
            env=made.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def executes() -> bool:
        try:
            return any(each.pid for each in made.status().workers if each.queue == "server")
        except Exception:
            return False

    until(executes, lambda: f"the server to execute; procq said: {made.said()}")
    return made


@pytest.mark.parametrize("way", ["port", "http"])
def test_who_comes_after_waits_for_the_port_and_for_the_answer(procqs: Procqs, way: str) -> None:
    port = free_ports() * 10 + 1
    procq = begin(procqs, manifest(f"port: {port}" if way == "port" else f"http: http://127.0.0.1:{port}/ready", port))
    throughout(NOT_YET, lambda: not running(procq, "client"), "waiting for the port")
    (procq.folder / "open").touch()
    if way == "http":
        until(lambda: asked(procq.folder), "the server to be asked")
        throughout(NOT_YET, lambda: not running(procq, "client"), "waiting for a good answer")
        (procq.folder / "ready").touch()
    until(lambda: running(procq, "client"), lambda: f"the client to start; {procq.status()}")
    procq.began(2)
    kinds = [(event.kind, event.worker) for event in procq.client.events(0, follow=False)]
    assert kinds.index(("ready", "server.1")) < kinds.index(("started", "client.1"))


def test_up_wait_returns_when_everybody_is_ready(procqs: Procqs) -> None:
    port = free_ports() * 10 + 1
    procq = procqs(manifest(f"port: {port}", port))
    up = subprocess.Popen(
        [PROCQ, "up", "-d", "--wait", procq.manifest],
        cwd=procq.folder,
        env=procq.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        throughout(NOT_YET, lambda: up.poll() is None, "waiting")
        (procq.folder / "open").touch()
        assert up.wait(20) == 0
        assert set(procq.workers()) == {"server.1", "client.1"}
    finally:
        procq.command("down")
        up.wait(20)


def test_another_control_plane_knows_who_is_ready(procqs: Procqs) -> None:
    port = free_ports() * 10 + 1
    made = procqs(manifest(f"http: http://127.0.0.1:{port}/ready", port))
    for name in ("open", "ready"):
        (made.folder / name).touch()
    procq = made.start(2)
    before = procq.workers()
    (procq.folder / "ready").unlink()
    procq.kill_control_plane()
    assert procq.wait_running(2) == before
    questions = len(asked(procq.folder))
    throughout(NOT_YET, lambda: len(asked(procq.folder)) == questions, "knowing that it is ready")
