"""FAULTS 7: who asks over the API may go away at any moment; what was begun stays somebody's."""

from __future__ import annotations

import json
import socket
from random import Random

import pytest

from tests.process.support import processes
from tests.process.support.fixtures import Procqs
from tests.process.support.oracle import Oracle
from tests.process.support.project import Procq
from tests.process.support.trials import CI, SEED
from tests.process.support.waiting import until

pytestmark = pytest.mark.process


def request(method: str, path: str, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def cut_off(procq: Procq, random: Random) -> None:
    """Asks for something that starts or stops workers, and hangs up: before the end of the request, or after it."""
    asked = random.choice(
        [
            request("PATCH", "/v1/queues/w", {"workers": str(random.randint(0, 8))}),
            request("POST", "/v1/restarts", {"targets": ["w"]}),
            request("PATCH", f"/v1/workers?target=w.{random.randint(1, 8)}", {"running": random.random() < 0.5}),
        ]
    )
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(procq.project.api_socket)
        connection.sendall(asked[: random.choice([len(asked), len(asked), random.randrange(len(asked))])])


def everybody_is_known(procq: Procq, oracle: Oracle) -> bool:
    """What runs is what the project consists of: nobody untracked, no zombie."""
    info = procq.info()
    known = {info.pid, info.sentinel, info.control_plane, *(worker.pid for worker in procq.workers().values())}
    return set(oracle.alive()) == known and not processes.zombies_of(info.pid)


def test_faults_7_requests_that_are_cut_off_leave_nobody_untracked(procqs: Procqs, oracle: Oracle) -> None:
    procq = procqs("queues:\n  w:\n    command: sleep 1000\n    workers: 3\n").start(3)
    random = Random(SEED)
    for _ in range(CI.cut_offs):
        cut_off(procq, random)
    procq.command("start", "w")
    procq.command("scale", "w=4")
    procq.wait_running(4)
    until(lambda: everybody_is_known(procq, oracle), "exactly those that are known")
    assert "Traceback" not in procq.said()
