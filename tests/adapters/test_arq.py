"""arq on a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.adapters.pausing import pause_and_resume
from tests.adapters.trial import ROOT, Crew, crew, stand, wait
from tests.servers.redis import redis_server

pytestmark = [pytest.mark.adapters, pytest.mark.process]

SEND = """
import asyncio
import sys
from arq import create_pool
from arq_jobs import WorkerSettings


async def send(first, last):
    pool = await create_pool(WorkerSettings.redis_settings)
    for n in range(first, last + 1):
        await pool.enqueue_job("work", n)
    await pool.aclose()


asyncio.run(send(*map(int, sys.argv[1:])))
"""
ODD = """
import asyncio
from arq import create_pool
from arq.constants import default_queue_name, job_key_prefix
from arq_jobs import WorkerSettings


async def send():
    pool = await create_pool(WorkerSettings.redis_settings)
    await pool.enqueue_job("nothing")
    await pool.set(job_key_prefix + "garbage", b"garbage")
    await pool.zadd(default_queue_name, {"garbage": 1, "expired": 1})
    await pool.enqueue_job("sleepy")
    await pool.enqueue_job("work", 2)
    await pool.aclose()


asyncio.run(send())
"""


@contextmanager
def workers(scratch: Path) -> Iterator[Crew]:
    with redis_server(scratch / "redis") as socket:
        environment = {"REDIS_SOCKET": str(socket)}
        with crew(scratch, "arq arq_jobs.WorkerSettings", environment, libraries=ROOT / ".venv-arq" / "bin") as made:
            yield made


def test_every_job_is_done_once(tmp_path: Path) -> None:
    with workers(tmp_path) as made:
        stand(made, lambda first, last: made.python(SEND, str(first), str(last)))


def test_what_cannot_be_done_is_over_too(tmp_path: Path) -> None:
    with workers(tmp_path) as made:
        made.write(1, 1)
        made.procq("up", "-d", "--wait")
        made.python(ODD)
        wait("five jobs", lambda: made.queue().jobs == 5, made)
        said = made.queue()
        assert (said.busy, said.jobs_failed, said.jobs_retried) == (0, 4, 0), made.output()


def test_a_paused_queue_rests_and_goes_on(tmp_path: Path) -> None:
    with workers(tmp_path) as made:
        pause_and_resume(made, lambda first, last: made.python(SEND, str(first), str(last)))
