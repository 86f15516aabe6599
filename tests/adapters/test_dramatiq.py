"""Dramatiq on a real Redis, and on a real RabbitMQ."""

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
import dramatiq_jobs
for n in range(int(sys.argv[1]), int(sys.argv[2]) + 1):
    dramatiq_jobs.work.send(n)
"""
SEND_OTHERS = """
import time
import dramatiq_jobs
from dramatiq import Message
dramatiq_jobs.work.send_with_options(args=(2,), max_age=1)
dramatiq_jobs.broker.enqueue(Message("work", "unknown", (3,), {}, {}))
dramatiq_jobs.work.send_with_options(args=(4,), delay=1_500)
dramatiq_jobs.work.send(-1)
dramatiq_jobs.never.send(6)
time.sleep(0.2)
"""
COMMAND = "dramatiq dramatiq_jobs --processes 2 --threads 2"
RESTS = 2.0  # seconds: longer than any look of a worker


@contextmanager
def broker(scratch: Path, kind: str) -> Iterator[str]:
    if kind == "redis":
        with redis_server(scratch / "redis") as socket:
            yield f"unix://{socket}"
    else:
        from tests.servers.rabbitmq import rabbitmq_server

        with rabbitmq_server(scratch / "rabbitmq") as url:
            # Pika has another way to write the virtual host that is called "/".
            yield f"{url.removesuffix('//')}/%2F"


@pytest.mark.parametrize("at", ["redis", "rabbitmq"])
def test_every_job_is_done_once(tmp_path: Path, at: str) -> None:
    with broker(tmp_path, at) as place, crew(tmp_path, COMMAND, {"BROKER": place}) as made:
        stand(made, lambda first, last: made.python(SEND, str(first), str(last)))
        assert not made.entries("left"), "a worker was stopped that had jobs"


@pytest.mark.parametrize("at", ["redis", "rabbitmq"])
def test_what_is_not_begun_keeps_nobody_busy(tmp_path: Path, at: str) -> None:
    with broker(tmp_path, at) as place, crew(tmp_path, COMMAND, {"BROKER": place}) as made:
        made.python(SEND_OTHERS)
        made.write(1, 1)
        made.procq("up", "-d", "--wait")
        wait("the job that was due later", lambda: made.finished() == 1, made)
        wait("an idle worker", lambda: made.queue().busy == 0 and made.queue().jobs == 2, made)
        assert (made.entries("done"), made.entries("began")) == ({4: 1}, {4: 1, 6: 1})
        assert (made.queue().jobs_failed, made.queue().jobs_retried) == (1, 0)
        made.procq("scale", "work=0")
        wait("nobody", lambda: made.running(0), made)
        assert not made.entries("left")


def ended(crew: Crew) -> Counter[int]:
    """The attempts that are over, whichever way."""
    return crew.entries("done") + crew.entries("failed") + crew.entries("again")


@pytest.mark.parametrize("at", ["redis", "rabbitmq"])
def test_a_paused_queue_rests_and_goes_on(tmp_path: Path, at: str) -> None:
    with broker(tmp_path, at) as place, crew(tmp_path, COMMAND, {"BROKER": place}) as made:
        made.python(SEND, "1", "100")
        made.write(1, 1)
        made.procq("up", "-d", "--wait")
        wait("the first jobs", lambda: made.finished() >= 4, made)
        made.procq("pause", "work")
        begun = made.entries("began")
        assert begun == ended(made) and len(begun) < 100
        made.python(SEND, "101", "110")
        time.sleep(RESTS)
        assert made.entries("began") == begun
        made.procq("resume", "work")
        wait("the last job", lambda: made.finished() == 110, made)
        wait("an idle worker", lambda: made.queue().busy == 0, made)
        assert made.entries("began") == ended(made)
        assert made.queue().jobs == ended(made).total()


SEND_HELD = "import sys, dramatiq_held; dramatiq_held.work.send(int(sys.argv[1]))"


def test_messages_that_were_taken_count_before_their_worker_is_parked(tmp_path: Path) -> None:
    command = "dramatiq dramatiq_held --processes 1 --threads 1"
    with broker(tmp_path, "redis") as place, held(tmp_path, command, {"BROKER": place}, "work") as worker:
        worker.crew.python(SEND_HELD, "1")
        worker.wait("a job", lambda: worker.begun() == 1)
        worker.set("taken")
        worker.crew.python(SEND_HELD, "2")
        worker.wait("another one that is taken", (worker.crew.folder / "is_taken").exists)
        worker.tell("PARK")
        worker.rest(lambda: not worker.parked())
        worker.free("taken")
        worker.wait("a parked worker", worker.parked)
        assert worker.busy() == 2
        worker.crew.python(SEND_HELD, "3")
        worker.free("work")
        worker.wait("an idle worker", lambda: worker.busy() == 0)
        worker.rest(lambda: worker.parked() and worker.begun() == worker.crew.finished() == 2)
        worker.tell("RESUME")
        worker.wait("the last job", lambda: worker.crew.finished() == 3)
        assert not worker.parked()
