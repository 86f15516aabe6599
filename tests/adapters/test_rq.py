"""RQ on a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.adapters.trial import Crew, crew, stand, wait
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

AGAIN = """
import sys
from redis import Redis
from rq import Queue
import rq_jobs
queue = Queue("work", connection=Redis.from_url(sys.argv[1]))
queue.enqueue(rq_jobs.returns_retry, 1)
"""
KINDS = pytest.mark.parametrize("kind", ["Worker", "SimpleWorker"])


@contextmanager
def workers(tmp_path: Path, kind: str) -> Iterator[tuple[Crew, str]]:
    """Of this class, not begun yet; and where their Redis is."""
    with redis_server(tmp_path / "redis") as socket:
        url = f"unix://{socket}"
        with crew(tmp_path, f"rq worker --url {url} --worker-class procq.worker.rq.{kind} work", {}) as made:
            yield made, url


@contextmanager
def one(tmp_path: Path, kind: str, code: str) -> Iterator[Crew]:
    """One worker at work, and what `code` sends it."""
    with workers(tmp_path, kind) as (made, url):
        made.write(1, 0)
        made.procq("up", "--detach", "--wait")
        made.python(code, url)
        yield made


@KINDS
def test_every_job_is_done_once(tmp_path: Path, kind: str) -> None:
    with workers(tmp_path, kind) as (made, url):
        stand(made, lambda first, last: made.python(SEND, url, str(first), str(last)))


@KINDS
def test_a_job_that_nobody_can_read_costs_no_worker(tmp_path: Path, kind: str) -> None:
    """Its function is of another release, or it comes from another serializer: RQ says that it has failed."""
    with one(tmp_path, kind, UNREADABLE) as made:
        wait("the job after it", lambda: made.entries("done") == {2: 1}, made)
        wait("the account of both", lambda: made.queue().jobs == 2, made)
        assert made.queue().jobs_failed == 1
        assert made.ends() == []


@KINDS
def test_what_a_job_returns_for_another_try_is_a_retry(tmp_path: Path, kind: str) -> None:
    with one(tmp_path, kind, AGAIN) as made:
        wait("its last try", lambda: made.queue().jobs == 3, made)
        assert (made.queue().jobs_retried, made.queue().jobs_failed) == (2, 1)
        assert made.entries("began") == {1: 3}
