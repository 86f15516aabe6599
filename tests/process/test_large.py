"""A manifest of a thousand queues is loaded beside the control loop: workers that crash meanwhile are replaced."""

from __future__ import annotations

import http.client
import os
import secrets
import signal
import socket
import threading
import time

import pytest

from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.waiting import PATIENCE, until

pytestmark = pytest.mark.process

WIDE = 0.25
"""Seconds that an answer may come later than the latest one while nothing happens; on a machine without others it is a
twentieth of that.
"""
CRASHING = """\
queues:
  emails:
    command: sleep 1000
    restart:
      backoff: 1ms..2ms
"""


def large(queues: int) -> str:
    """Blocks that nobody has read before."""
    new = secrets.token_hex(8)
    more = [
        f'  q{n}:\n    command: sleep {n}\n    workers: 0\n    env:\n      NEW: "{new}"\n      NUMBER: "{n}"\n'
        "    stop:\n      signal: TERM\n      grace: 3s\n    restart:\n      policy: always\n"
        for n in range(queues)
    ]
    return CRASHING + "".join(more)


class Listener:
    """Asks the control loop whether it lives, as fast as it answers."""

    def __init__(self, procq: Procq) -> None:
        self.latest = 0.0
        self.answers = 0
        self._socket = procq.project.api_socket
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self._socket)
        while not self._over.wait(0.002):
            began = time.monotonic()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            self.latest = max(self.latest, time.monotonic() - began)
            self.answers += 1
        connection.close()


def test_the_control_loop_goes_on_while_a_large_file_is_read(procqs: Procqs) -> None:
    procq = procqs(CRASHING).start(1)
    with Listener(procq) as idle:
        until(lambda: idle.answers >= 200, "two hundred answers")
    replaced = 0
    with Listener(procq) as busy:
        procq.replace(large(1000))
        while len(procq.client.status().queues) == 1:
            before = procq.workers()["emails.1"]
            os.kill(before.pid, signal.SIGKILL)
            until(lambda gone=before: procq.wait_running(1)["emails.1"] != gone, "a replacement")  # type: ignore[misc]
            replaced += 1
    assert replaced >= 5
    assert len(procq.client.status().queues) == 1001
    assert busy.latest < idle.latest + WIDE
