"""Jobs for arq."""

from __future__ import annotations

import asyncio
import os

import ledger
from arq import Retry, func
from arq.connections import RedisSettings

import procq.worker.arq

procq.worker.arq.install()

TAKES = 0.4  # seconds: jobs are to be left when workers are replaced


async def work(ctx, job: int) -> None:
    try:
        ledger.before(job, ctx["job_try"])
    except ledger.AgainError as error:
        raise Retry() from error
    await asyncio.sleep(TAKES)
    ledger.after(job)


async def sleepy(ctx) -> None:
    await asyncio.sleep(60)


class WorkerSettings:
    functions = (work, func(sleepy, timeout=0.5))
    redis_settings = RedisSettings(unix_socket_path=os.environ["REDIS_SOCKET"])
    max_jobs = 3
    poll_delay = 0.05
