"""Jobs for Procrastinate."""

from __future__ import annotations

import asyncio
import os

import ledger
from procrastinate import App, PsycopgConnector, RetryStrategy

import procq.worker.procrastinate

procq.worker.procrastinate.install()

TAKES = 0.4  # seconds: jobs are to be left when workers are replaced
app = App(
    connector=PsycopgConnector(conninfo=os.environ["POSTGRES"]),
    worker_defaults={"concurrency": 3, "fetch_job_polling_interval": 0.5},
)


@app.task(pass_context=True, retry=RetryStrategy(max_attempts=1, retry_exceptions=[ledger.AgainError]))
async def work(context, *, job: int) -> None:
    ledger.before(job, context.job.attempts + 1)
    await asyncio.sleep(TAKES)
    ledger.after(job)


@app.task
async def sleepy() -> None:
    await asyncio.sleep(60)
