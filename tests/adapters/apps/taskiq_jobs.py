"""Jobs for TaskIQ."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import ledger
from taskiq import Context, SimpleRetryMiddleware, TaskiqDepends
from taskiq.exceptions import NoResultError
from taskiq_redis import ListQueueBroker

TAKES = 0.4  # seconds: jobs are to be left when workers are replaced
broker = ListQueueBroker(f"unix://{os.environ['REDIS_SOCKET']}").with_middlewares(SimpleRetryMiddleware())


@broker.task
async def work(job: int, context: Annotated[Context, TaskiqDepends()]) -> None:
    ledger.before(job, int(context.message.labels.get("_retries", 0)) + 1)
    await asyncio.sleep(TAKES)
    ledger.after(job)


@broker.task
async def requeued(context: Annotated[Context, TaskiqDepends()]) -> None:
    if "X-Taskiq-requeue" not in context.message.labels:
        await context.requeue()


@broker.task
async def silent() -> None:
    raise NoResultError


if not os.environ.get("PROCQ_WORKER_ID"):

    @broker.task
    async def nothing() -> None: ...
