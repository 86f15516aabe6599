"""RQ on a real Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.adapters.trial import crew, stand
from tests.servers.redis import redis_server

pytestmark = [pytest.mark.adapters, pytest.mark.process]

SEND = """
import sys
from redis import Redis
from rq import Queue, Retry
import ledger, rq_jobs
first, last = map(int, sys.argv[2:])
queue = Queue("work", connection=Redis.from_url(sys.argv[1]))
queue.enqueue_many([
    Queue.prepare_data(rq_jobs.work, (n,), retry=Retry(max=1) if ledger.retries(n) and not ledger.fails(n) else None)
    for n in range(first, last + 1)
])
"""


@pytest.mark.parametrize("kind", ["Worker", "SimpleWorker"])
def test_every_job_is_done_once(tmp_path: Path, kind: str) -> None:
    with redis_server(tmp_path / "redis") as socket:
        url = f"unix://{socket}"
        command = f"rq worker --url {url} --worker-class procq.worker.rq.{kind} work"
        with crew(tmp_path, command, {}) as made:
            stand(made, lambda first, last: made.python(SEND, url, str(first), str(last)))
