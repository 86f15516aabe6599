"""Jobs for SAQ."""

from __future__ import annotations

import asyncio
import os

import ledger
from redis.asyncio import Redis
from saq.queue.redis import RedisQueue

import procq.worker.saq

procq.worker.saq.install()

TAKES = 0.4  # seconds: jobs are to be left when workers are replaced
queue = RedisQueue(Redis.from_url(f"unix://{os.environ['REDIS_SOCKET']}"))


async def work(context, *, job: int) -> None:
    ledger.before(job, context["job"].attempts)
    await asyncio.sleep(TAKES)
    ledger.after(job)


async def sleepy(context) -> None:
    await asyncio.sleep(60)


settings = {"queue": queue, "functions": [work, sleepy], "concurrency": 3}
