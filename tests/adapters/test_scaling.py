"""A burst of jobs, and workers that come for it and go after it: with real workers, and a real Redis to read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.adapters import test_celery, test_rq
from tests.adapters.apps import ledger
from tests.adapters.trial import Crew, crew, wait
from tests.servers.redis import redis_server

pytestmark = [pytest.mark.adapters, pytest.mark.process]

JOBS = 5_000
MOST = 8
SCALE = """\
    source: {source}
    scale:
      wait: 30s
      style: lazy
"""
"""An objective far longer than any boot: else workers are kept for long, because the next burst would not wait."""


@contextmanager
def rq(scratch: Path) -> Iterator[tuple[Crew, str]]:
    with redis_server(scratch / "redis") as socket:
        url = f"unix://{socket}"
        command = f"rq worker --quiet --url {url} --worker-class procq.worker.rq.SimpleWorker work"
        more = SCALE.format(source=f"rq+unix://{socket}")
        with crew(scratch, command, {}, more) as made:
            yield made, url


@contextmanager
def celery(scratch: Path) -> Iterator[tuple[Crew, str]]:
    with redis_server(scratch / "redis") as socket:
        url = f"redis+socket://{socket}"
        command = "celery -A celery_jobs worker -P solo -l ERROR"
        more = SCALE.format(source=f"celery+unix://{socket}?queue=celery")
        with crew(scratch, command, {"BROKER": url, "TAKES": "0.002"}, more) as made:
            yield made, url


LIBRARIES = {"rq": (rq, test_rq.SEND), "celery": (celery, test_celery.SEND)}


@pytest.mark.parametrize("library", LIBRARIES)
def test_workers_come_for_a_burst_and_go_after_it(tmp_path: Path, library: str) -> None:
    workers, code = LIBRARIES[library]
    with workers(tmp_path) as (made, url):
        made.write(f"0..{MOST}", 1)
        made.procq("up", "-d", "--wait")
        assert made.running(0)
        words = (url,) if library == "rq" else ()
        made.python(code, *words, "1", str(JOBS))
        sent = time.monotonic()
        wait("all workers it may have", lambda: made.queue().desired == MOST, made)
        took = time.monotonic() - sent
        wait("the last job", lambda: made.finished() == JOBS, made)
        wait("nobody", lambda: made.running(0), made)
        jobs = range(1, JOBS + 1)
        assert made.entries("done") == dict.fromkeys((job for job in jobs if not ledger.fails(job)), 1)
        assert made.entries("failed") == dict.fromkeys((job for job in jobs if ledger.fails(job)), 1)
        assert not [line for line in made.ends() if "SIGKILL" in line], made.ends()
        # Promised are two seconds; on a machine that has other things to do they may be some more.
        assert took < 2.0 * 5, took
        why = made.procq("why", "work", "-n", "50")
        assert f"0 → {MOST}" in why, why
        assert "wait" in why, why
