"""Jobs for Celery, on the broker that BROKER names. Each takes as many seconds as TAKES says."""

from __future__ import annotations

import os
import time

import ledger
from celery import Celery
from celery.signals import worker_process_init

from procq.worker.celery import install

app = Celery("celery_jobs", broker=os.environ["BROKER"])
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True
install(app)
if ledger.TRACED == "late":
    worker_process_init.connect(ledger.spans.set_up)
AGAIN = 0.5  # seconds until the second attempt: for as long it waits inside a worker


@app.task(bind=True, max_retries=1)
def work(self, job: int) -> None:
    try:
        ledger.before(job, self.request.retries + 1)
    except ledger.AgainError as error:
        raise self.retry(exc=error, countdown=AGAIN) from error
    time.sleep(float(os.environ["TAKES"]))
    ledger.after(job)


@app.task(rate_limit="1/h")
def limited(job: int) -> None:
    ledger.run(job)
