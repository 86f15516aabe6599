"""Procrastinate on PostgreSQL. Two runs differ by more than an adapter costs: one worker has it in every other turn."""

from __future__ import annotations

import os
from typing import Any

import procrastinate.worker
from procrastinate import App, PsycopgConnector
from stamp import SPEAK, TURN, stamp

from procq.worker import procrastinate as adapter


class InTurns(adapter.Worker):
    """Passes by the adapter in every other turn of jobs."""

    _taken = 0

    async def _fetch(self, fetch_job: Any, **options: Any) -> Any:
        passes = self._taken // TURN % 2 == 1 and self._gate is not None
        job = await (fetch_job(**options) if passes else super()._fetch(fetch_job, **options))
        self._taken += job is not None
        self._passes = passes
        return job

    async def _process_job(self, context: Any) -> None:
        step = super(adapter.Worker, self) if self._passes else super()
        await step._process_job(context)


if SPEAK:
    procrastinate.worker.Worker = InTurns

app = App(connector=PsycopgConnector(conninfo=os.environ["POSTGRES"]), worker_defaults={"concurrency": 1})


@app.task
async def work() -> None:
    stamp()


def send(jobs: int) -> None:
    with app.open():
        if not app.check_connection():
            app.schema_manager.apply_schema()
        work.batch_defer(*({} for _ in range(jobs)))
