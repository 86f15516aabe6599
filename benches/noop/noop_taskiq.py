"""TaskIQ on Redis, whose adapter is a receiver that the command names."""

from __future__ import annotations

import asyncio
import os

from stamp import stamp
from taskiq_redis import ListQueueBroker

broker = ListQueueBroker(f"unix://{os.environ['REDIS_SOCKET']}")


@broker.task
async def work() -> None:
    stamp()


def send(jobs: int) -> None:
    async def all_of_them() -> None:
        for _ in range(jobs):
            await work.kiq()
        await broker.shutdown()

    asyncio.run(all_of_them())
