"""Celery on a real Redis and a real RabbitMQ, with processes, with threads and with neither."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from tests.adapters.trial import Crew, crew, stand, wait
from tests.process.support.waiting import throughout
from tests.servers.rabbitmq import rabbitmq_server
from tests.servers.redis import redis_server

pytestmark = [pytest.mark.adapters, pytest.mark.process]

SEND = """
import sys
import celery_jobs
first, last = map(int, sys.argv[1:])
with celery_jobs.app.producer_pool.acquire() as producer:
    for n in range(first, last + 1):
        celery_jobs.work.apply_async((n,), producer=producer)
"""
SEND_OTHERS = """
import celery_jobs
celery_jobs.work.apply_async((1_000,), countdown=3600)
celery_jobs.work.apply_async((999,), expires=-1)
celery_jobs.limited.delay(998)
celery_jobs.limited.delay(998)
celery_jobs.work.delay(997)
"""
SEND_LATER = "import celery_jobs; celery_jobs.work.apply_async((6,), countdown=3)"
TAKES = 0.12
"""Seconds from one job of a worker to the next: there have to be some left when the workers of a roll-out begin."""
A_WHILE = 4.0
"""Seconds in which what is sent to be done later is due, and a worker has a connection again and a job from it."""


@contextmanager
def broker(scratch: Path, kind: str) -> Iterator[str]:
    if kind == "redis":
        with redis_server(scratch / "redis") as socket:
            yield f"redis+socket://{socket}"
    else:
        with rabbitmq_server(scratch / "rabbitmq") as url:
            yield url


@contextmanager
def workers(scratch: Path, kind: str, options: str, jobs: int, stop: str) -> Iterator[Crew]:
    command = f"exec celery -A celery_jobs worker {options} -l WARNING -n $PROCQ_WORKER_ID@%h"
    with broker(scratch, kind) as url:
        environment = {"BROKER": url, "TAKES": f"{TAKES * jobs:g}"}
        with crew(scratch, command, environment, f"    shell: yes\n    stop:\n      signal: {stop}\n") as made:
            yield made


@pytest.mark.parametrize(
    ("kind", "options", "jobs"),
    [("redis", "-c 2", 2), ("redis", "-P threads -c 2", 2), ("redis", "-P solo", 1), ("rabbitmq", "-c 1", 1)],
)
def test_every_job_is_done_once(tmp_path: Path, kind: str, options: str, jobs: int) -> None:
    # At SIGQUIT Celery ends jobs: none is lost only if it comes when there is none.
    with workers(tmp_path, kind, options, jobs, "QUIT") as made:
        stand(made, lambda first, last: made.python(SEND, str(first), str(last)))


def cut(url: str) -> None:
    """Redis closes all connections but this one."""
    with Redis(unix_socket_path=url.removeprefix("redis+socket://")) as redis:
        redis.execute_command("CLIENT", "KILL", "SKIPME", "yes")


@pytest.mark.parametrize("options", ["-c 1", "-P solo"])
def test_what_waits_inside_keeps_nobody_busy(tmp_path: Path, options: str) -> None:
    with workers(tmp_path, "redis", options, 1, "TERM") as made:
        made.python(SEND_OTHERS)
        made.write(1, 1)
        made.procq("up", "-d", "--wait")
        wait("those that need not wait", lambda: made.finished() == 2, made)
        wait("an idle worker", lambda: made.queue().busy == 0 and made.queue().jobs == 2, made)
        made.python(SEND_LATER)
        made.procq("pause", "work")
        finished = made.finished()
        throughout(A_WHILE, lambda: made.finished() == finished, "a pause")
        cut(made.environment["BROKER"])
        made.python(SEND, "2", "5")
        throughout(A_WHILE, lambda: made.finished() == finished, "a pause")
        made.procq("resume", "work")
        wait("the others", lambda: made.finished() == 7, made)
        made.procq("scale", "work=0")
        wait("nobody", lambda: made.running(0), made)
        assert not [line for line in made.ends() if "SIGKILL" in line], made.ends()
