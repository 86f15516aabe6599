"""SAQ on a real Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.adapters.pausing import pause_and_resume
from tests.adapters.trial import crew, stand, wait
from tests.servers.redis import redis_server

pytestmark = [pytest.mark.adapters, pytest.mark.process]

SEND = """
import asyncio
import sys
import ledger
from saq_jobs import queue


async def send(first, last):
    # SAQ looks for jobs that are stuck, and takes one for it that was taken a moment ago: that is done twice.
    await queue.redis.set(queue.namespace("sweep"), "done for this trial")
    for n in range(first, last + 1):
        await queue.enqueue("work", job=n, retries=2 if ledger.retries(n) and not ledger.fails(n) else 1)
    await queue.disconnect()


asyncio.run(send(*map(int, sys.argv[1:])))
"""
ODD = """
import asyncio
from saq_jobs import queue


async def send():
    await queue.enqueue("nothing")
    await queue.redis.rpush(queue.namespace("queued"), queue.job_id("expired"))
    await queue.enqueue("sleepy", timeout=1)
    slow = await queue.enqueue("sleepy", timeout=60)
    await queue.enqueue("work", job=2)
    await asyncio.sleep(2)
    await slow.abort("not needed any more")
    await queue.disconnect()


asyncio.run(send())
"""


def test_every_job_is_done_once(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis") as socket:
        environment = {"REDIS_SOCKET": str(socket)}
        with crew(tmp_path, "saq saq_jobs.settings", environment) as made:
            stand(made, lambda first, last: made.python(SEND, str(first), str(last)))


def test_what_cannot_be_done_is_over_too(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis") as socket:
        environment = {"REDIS_SOCKET": str(socket)}
        with crew(tmp_path, "saq saq_jobs.settings", environment) as made:
            made.write(1, 1)
            made.procq("up", "-d", "--wait")
            made.python(ODD)
            wait("four jobs", lambda: made.queue().jobs == 4, made)
            said = made.queue()
            assert (said.busy, said.jobs_failed, said.jobs_retried) == (0, 3, 0), made.output()


def test_a_paused_queue_rests_and_goes_on(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis") as socket:
        environment = {"REDIS_SOCKET": str(socket)}
        with crew(tmp_path, "saq saq_jobs.settings", environment) as made:
            pause_and_resume(made, lambda first, last: made.python(SEND, str(first), str(last)))
