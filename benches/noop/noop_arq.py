"""arq."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from stamp import SPEAK, stamp

if SPEAK:
    import procq.worker.arq

    procq.worker.arq.install()


async def work(context: Any) -> None:
    stamp()


class WorkerSettings:
    functions = (work,)
    redis_settings = RedisSettings(unix_socket_path=os.environ["REDIS_SOCKET"])
    max_jobs = 100  # it looks for more only every poll_delay
    poll_delay = 0.01
    keep_result = 0


def send(jobs: int) -> None:
    async def all_of_them() -> None:
        pool = await create_pool(WorkerSettings.redis_settings)
        for _ in range(jobs):
            await pool.enqueue_job("work")
        await pool.aclose()

    asyncio.run(all_of_them())
