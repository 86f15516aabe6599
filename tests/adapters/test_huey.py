"""Huey on a real Redis and on SQLite, with threads and with processes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.adapters.held import held
from tests.adapters.trial import Crew, crew, stand, wait
from tests.servers.redis import redis_server

pytestmark = [pytest.mark.adapters, pytest.mark.process]

SEND = """
import sys
import ledger, huey_jobs
first, last = map(int, sys.argv[1:])
for n in range(first, last + 1):
    huey_jobs.queue.enqueue(huey_jobs.work.s(n, retries=int(ledger.retries(n) and not ledger.fails(n))))
"""
SEND_OTHERS = """
import time
import huey_jobs
huey_jobs.work(2).revoke()
huey_jobs.queue.enqueue(huey_jobs.work.s(3, expires=0.1))
huey_jobs.work.schedule((4,), delay=1)
huey_jobs.work(-1)
time.sleep(0.2)
"""
RESTS = 2.0  # seconds: longer than any look of a worker
CONSUMER = "huey_consumer huey_jobs.queue --quiet --no-periodic --max-delay 0.2 --workers 2 --worker-type"


@contextmanager
def storage(scratch: Path, kind: str) -> Iterator[str]:
    if kind == "sqlite":
        yield str(scratch / "queue.db")
    else:
        with redis_server(scratch / "redis") as socket:
            yield f"unix://{socket}"


@contextmanager
def consumers(scratch: Path, place: str, kind: str, stop: str) -> Iterator[Crew]:
    more = f"    stop:\n      signal: {stop}\n"
    with crew(scratch, f"{CONSUMER} {kind}", {"HUEY_STORAGE": place}, more) as made:
        yield made


@pytest.mark.parametrize("kind", ["thread", "process"])
@pytest.mark.parametrize("at", ["redis", "sqlite"])
def test_every_job_is_done_once(tmp_path: Path, at: str, kind: str) -> None:
    # SIGTERM interrupts: no job is lost only if it comes when there is none.
    with storage(tmp_path, at) as place, consumers(tmp_path, place, kind, "TERM") as made:
        stand(made, lambda first, last: made.python(SEND, str(first), str(last)))


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_what_is_not_begun_keeps_nobody_busy(tmp_path: Path, kind: str) -> None:
    with storage(tmp_path, "redis") as place, consumers(tmp_path, place, kind, "INT") as made:
        made.python(SEND_OTHERS)
        made.write(1, 1)
        made.procq("up", "-d", "--wait")
        wait("the job that was due later", lambda: made.finished() == 1, made)
        wait("an idle worker", lambda: made.queue().busy == 0 and made.queue().jobs == 2, made)
        assert made.entries("done") == {4: 1}
        assert (made.queue().jobs_failed, made.queue().jobs_retried) == (0, 0)
        made.procq("scale", "work=0")
        wait("nobody", lambda: made.running(0), made)
        assert not [line for line in made.ends() if "SIGKILL" in line], made.ends()


def ended(crew: Crew) -> Counter[int]:
    """The attempts that are over, whichever way."""
    return crew.entries("done") + crew.entries("failed") + crew.entries("again")


@pytest.mark.parametrize("kind", ["thread", "process"])
@pytest.mark.parametrize("at", ["redis", "sqlite"])
def test_a_paused_queue_rests_and_goes_on(tmp_path: Path, at: str, kind: str) -> None:
    with storage(tmp_path, at) as place, consumers(tmp_path, place, kind, "INT") as made:
        made.python(SEND, "1", "200")
        made.write(1, 1)
        made.procq("up", "-d", "--wait")
        wait("the first jobs", lambda: made.finished() >= 4, made)
        made.procq("pause", "work")
        begun = made.entries("began")
        assert begun == ended(made) and len(begun) < 200
        made.python(SEND, "201", "210")
        time.sleep(RESTS)
        assert made.entries("began") == begun
        made.procq("resume", "work")
        wait("the last job", lambda: made.finished() == 210, made)
        wait("an idle worker", lambda: made.queue().busy == 0, made)
        assert made.entries("began") == ended(made)
        assert made.queue().jobs == ended(made).total()


SEND_HELD = "import sys, huey_held; huey_held.work(int(sys.argv[1]))"
HELD = "huey_consumer huey_held.queue --quiet --no-periodic --max-delay 0.2 --health-check-interval 0.2 --worker-type"


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_job_that_was_taken_is_begun_before_its_worker_is_parked(tmp_path: Path, kind: str) -> None:
    with held(tmp_path, f"{HELD} {kind}", {}, "taken", "work") as worker:
        worker.crew.python(SEND_HELD, "1")
        worker.wait("a job that is taken", (worker.crew.folder / "is_taken").exists)
        worker.wait("a worker that is ready", worker.ready)
        worker.tell("PARK")
        worker.rest(lambda: not worker.parked())
        worker.free("taken")
        worker.wait("a parked worker", worker.parked)
        assert worker.busy() == 1
        worker.crew.python(SEND_HELD, "2")
        worker.free("work")
        worker.wait("an idle worker", lambda: worker.busy() == 0)
        worker.rest(lambda: worker.parked() and worker.begun() == 1)
        worker.tell("RESUME")
        worker.wait("the other job", lambda: worker.crew.finished() == 2)
        assert not worker.parked()


def test_a_process_that_takes_the_place_of_a_parked_one_takes_no_job(tmp_path: Path) -> None:
    with held(tmp_path, f"{HELD} process --max-tasks 1", {}, "work") as worker:
        worker.crew.python(SEND_HELD, "1")
        worker.wait("a job", lambda: worker.begun() == 1)
        worker.tell("PARK")
        worker.crew.python(SEND_HELD, "2")
        worker.free("work")
        worker.wait("its end", lambda: worker.crew.finished() == 1)
        worker.rest(lambda: worker.begun() == 1)
        worker.tell("RESUME")
        worker.wait("the other job", lambda: worker.crew.finished() == 2)
