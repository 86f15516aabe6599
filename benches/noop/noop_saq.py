"""SAQ on Redis."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from redis.asyncio import Redis
from saq.queue.redis import RedisQueue
from stamp import SPEAK, stamp

if SPEAK:
    import procq.worker.saq

    procq.worker.saq.install()

queue = RedisQueue(Redis.from_url(f"unix://{os.environ['REDIS_SOCKET']}"))


async def work(context: Any) -> None:
    stamp()


settings = {"queue": queue, "functions": [work], "concurrency": 1}


def send(jobs: int) -> None:
    async def all_of_them() -> None:
        for _ in range(jobs):
            await queue.enqueue("work", ttl=-1)
        await queue.disconnect()

    asyncio.run(all_of_them())
