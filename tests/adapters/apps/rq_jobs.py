"""Jobs for RQ."""

from __future__ import annotations

import ledger
from rq import get_current_job


def work(job: int) -> None:
    current = get_current_job()
    ledger.run(job, 2 if current.retries_left == 0 else 1)
