"""Procrastinate on PostgreSQL."""

from __future__ import annotations

import os

from procrastinate import App, PsycopgConnector
from stamp import SPEAK, stamp

if SPEAK:
    import procq.worker.procrastinate

    procq.worker.procrastinate.install()

app = App(connector=PsycopgConnector(conninfo=os.environ["POSTGRES"]), worker_defaults={"concurrency": 1})


@app.task
async def work() -> None:
    stamp()


def send(jobs: int) -> None:
    with app.open():
        if not app.check_connection():
            app.schema_manager.apply_schema()
        work.batch_defer(*({} for _ in range(jobs)))
