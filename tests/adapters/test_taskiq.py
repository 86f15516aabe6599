"""TaskIQ on a real Redis."""

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
from taskiq_jobs import broker, work


async def send(first, last):
    for n in range(first, last + 1):
        again = ledger.retries(n) and not ledger.fails(n)
        await work.kicker().with_labels(retry_on_error=again, max_retries=2).kiq(n)
    await broker.shutdown()


asyncio.run(send(*map(int, sys.argv[1:])))
"""
ODD = """
import asyncio
from redis.asyncio import Redis
from taskiq_jobs import broker, nothing, requeued, silent, work


async def send():
    async with Redis(connection_pool=broker.connection_pool) as redis:
        await redis.lpush(broker.queue_name, b"garbage")
    await nothing.kicker().kiq()
    await requeued.kiq()
    await silent.kiq()
    await work.kiq(2)
    await broker.shutdown()


asyncio.run(send())
"""
COMMAND = "taskiq worker --receiver procq.worker.taskiq:Receiver --max-prefetch 1 --max-async-tasks"


@pytest.mark.parametrize("processes", [1, 2])
def test_every_job_is_done_once(tmp_path: Path, processes: int) -> None:
    with redis_server(tmp_path / "redis") as socket:
        environment = {"REDIS_SOCKET": str(socket)}
        with crew(
            tmp_path, f"{COMMAND} {2 // processes} --workers {processes} taskiq_jobs:broker", environment
        ) as made:
            stand(made, lambda first, last: made.python(SEND, str(first), str(last)))


def test_what_cannot_be_done_is_over_too(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis") as socket:
        environment = {"REDIS_SOCKET": str(socket)}
        with crew(tmp_path, f"{COMMAND} 2 --workers 1 taskiq_jobs:broker", environment) as made:
            made.write(1, 1)
            made.procq("up", "-d", "--wait")
            made.python(ODD)
            wait("six attempts", lambda: made.queue().jobs == 6, made)
            said = made.queue()
            assert (said.busy, said.jobs_failed, said.jobs_retried) == (0, 2, 1), made.output()


def test_a_paused_queue_rests_and_goes_on(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis") as socket:
        environment = {"REDIS_SOCKET": str(socket)}
        with crew(tmp_path, f"{COMMAND} 2 --workers 1 taskiq_jobs:broker", environment) as made:
            pause_and_resume(made, lambda first, last: made.python(SEND, str(first), str(last)))
