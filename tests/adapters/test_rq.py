"""RQ on a real Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.adapters.trial import crew, stand, wait
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


UNREADABLE = """
import sys
from redis import Redis
from rq import Queue
import rq_jobs
redis = Redis.from_url(sys.argv[1])
queue = Queue("work", connection=redis)
job = queue.enqueue(rq_jobs.work, 1)
redis.hset(job.key, "data", b"of another program")
queue.enqueue(rq_jobs.work, 2)
"""


@pytest.mark.parametrize("kind", ["Worker", "SimpleWorker"])
def test_a_job_that_nobody_can_read_costs_no_worker(tmp_path: Path, kind: str) -> None:
    """Its function is of another release, or it comes from another serializer: RQ says that it has failed."""
    with redis_server(tmp_path / "redis") as socket:
        url = f"unix://{socket}"
        with crew(tmp_path, f"rq worker --url {url} --worker-class procq.worker.rq.{kind} work", {}) as made:
            made.write(1, 0)
            made.procq("up", "--detach", "--wait")
            made.python(UNREADABLE, url)
            wait("the job after it", lambda: made.entries("done") == {2: 1}, made)
            wait("the account of both", lambda: made.queue().jobs == 2, made)
            assert made.queue().jobs_failed == 1
            assert made.ends() == []


AGAIN = """
import sys
from redis import Redis
from rq import Queue
import rq_jobs
queue = Queue("work", connection=Redis.from_url(sys.argv[1]))
queue.enqueue(rq_jobs.returns_retry, 1)
"""


@pytest.mark.parametrize("kind", ["Worker", "SimpleWorker"])
def test_what_a_job_returns_for_another_try_is_a_retry(tmp_path: Path, kind: str) -> None:
    with redis_server(tmp_path / "redis") as socket:
        url = f"unix://{socket}"
        with crew(tmp_path, f"rq worker --url {url} --worker-class procq.worker.rq.{kind} work", {}) as made:
            made.write(1, 0)
            made.procq("up", "--detach", "--wait")
            made.python(AGAIN, url)
            wait("its last try", lambda: made.queue().jobs == 3, made)
            assert (made.queue().jobs_retried, made.queue().jobs_failed) == (2, 1)
            assert made.entries("began") == {1: 3}
