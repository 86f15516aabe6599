"""Spans of jobs, as real libraries do them, with the SDK of OpenTelemetry set up in their workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.trial import ROOT, Crew, crew, wait
from tests.servers.otlp import Receiver, attributes, receiving
from tests.servers.postgres import postgres
from tests.servers.redis import redis_server

pytestmark = [pytest.mark.adapters, pytest.mark.process]

SENT = (0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)
TRACEPARENT = f"00-{SENT[0]:032x}-{SENT[1]:016x}-01"
DONE, FAILS, RETRIED = 2, 50, 71
"""Jobs, as the ledger has them do: the first one's message says which span has sent it, where the library can."""
ERROR, CONSUMER = 2, 5

CELERY = f"""
import celery_jobs
celery_jobs.work.apply_async(({DONE},), headers={{"traceparent": "{TRACEPARENT}"}})
for n in ({FAILS}, {RETRIED}):
    celery_jobs.work.delay(n)
"""
RQ = f"""
import os
from redis import Redis
from rq import Queue, Retry
import rq_jobs
queue = Queue("work", connection=Redis.from_url(os.environ["PLACE"]))
queue.enqueue(rq_jobs.work, {DONE}, meta={{"traceparent": "{TRACEPARENT}"}})
queue.enqueue(rq_jobs.work, {FAILS})
queue.enqueue(rq_jobs.work, {RETRIED}, retry=Retry(max=1))
"""
HUEY = f"""
import huey_jobs
for n in ({DONE}, {FAILS}, {RETRIED}):
    huey_jobs.queue.enqueue(huey_jobs.work.s(n, retries=int(n == {RETRIED})))
"""
DRAMATIQ = f"""
import dramatiq_jobs
dramatiq_jobs.work.send_with_options(args=({DONE},), traceparent="{TRACEPARENT}")
for n in ({FAILS}, {RETRIED}):
    dramatiq_jobs.work.send(n)
"""
SAQ = f"""
import asyncio
from saq_jobs import queue

async def send():
    await queue.redis.set(queue.namespace("sweep"), "done for this trial")
    await queue.enqueue("work", job={DONE}, meta={{"traceparent": "{TRACEPARENT}"}})
    await queue.enqueue("work", job={FAILS})
    await queue.enqueue("work", job={RETRIED}, retries=2)
    await queue.disconnect()

asyncio.run(send())
"""
TASKIQ = f"""
import asyncio
from taskiq_jobs import broker, work

async def send():
    await work.kicker().with_labels(traceparent="{TRACEPARENT}").kiq({DONE})
    await work.kiq({FAILS})
    await work.kicker().with_labels(retry_on_error=True, max_retries=2).kiq({RETRIED})
    await broker.shutdown()

asyncio.run(send())
"""
ARQ = f"""
import asyncio
from arq import create_pool
from arq_jobs import WorkerSettings

async def send():
    pool = await create_pool(WorkerSettings.redis_settings)
    for n in ({DONE}, {FAILS}, {RETRIED}):
        await pool.enqueue_job("work", n)
    await pool.aclose()

asyncio.run(send())
"""
PROCRASTINATE = f"""
from procrastinate_jobs import app, work
with app.open():
    app.schema_manager.apply_schema()
    work.batch_defer(*({{"job": n}} for n in ({DONE}, {FAILS}, {RETRIED})))
"""


@dataclass(frozen=True)
class Library:
    """One that has an adapter: its worker, who sends it jobs, and what it calls the queue that they come from."""

    name: str
    send: str
    worker: str
    destination: str = "work"
    traced: str = "early"
    place: str = "{redis}"
    sender: bool = True
    """Whether a message can say which span has sent it."""
    environment: Path = ROOT / ".venv-libraries" / "bin"


LIBRARIES = {
    **{
        f"celery-{pool}-{traced}": Library(
            "celery",
            CELERY,
            f"celery -A celery_jobs worker -P {pool} -c 2 -l WARNING",
            "celery",
            traced,
            "redis+socket://{redis}",
        )
        for pool, traced in (("solo", "early"), ("threads", "early"), ("prefork", "early"), ("prefork", "late"))
    },
    **{
        f"rq-{kind}": Library("rq", RQ, f"rq worker -c spans --url $PLACE --worker-class procq.worker.rq.{kind} work")
        for kind in ("SimpleWorker", "Worker")
    },
    **{
        f"huey-{kind}": Library(
            "huey",
            HUEY,
            f"huey_consumer huey_jobs.queue --quiet --no-periodic --workers 2 --worker-type {kind}",
            sender=False,
        )
        for kind in ("thread", "process")
    },
    "dramatiq": Library("dramatiq", DRAMATIQ, "dramatiq dramatiq_jobs --processes 1 --threads 2"),
    "arq": Library(
        "arq",
        ARQ,
        "arq arq_jobs.WorkerSettings",
        "arq:queue",
        sender=False,
        environment=ROOT / ".venv-arq" / "bin",
    ),
    "saq": Library("saq", SAQ, "saq saq_jobs.settings", "default"),
    "taskiq": Library(
        "taskiq",
        TASKIQ,
        "taskiq worker --receiver procq.worker.taskiq:Receiver --workers 1 taskiq_jobs:broker",
        "taskiq",
    ),
    "procrastinate": Library(
        "procrastinate",
        PROCRASTINATE,
        "procrastinate --app=procrastinate_jobs.app worker",
        "default",
        place="{postgres}",
        sender=False,
    ),
}


@contextmanager
def place_of(library: Library, scratch: Path) -> Iterator[tuple[str, str]]:
    """Where its jobs are: as its app wants it, and the socket of a Redis."""
    if library.place == "{postgres}":
        with postgres() as found:
            yield found, ""
    else:
        with redis_server(scratch / "redis") as socket:
            url = f"unix://{socket}" if library.place == "{redis}" else library.place.format(redis=socket)
            yield url, str(socket)


@contextmanager
def working(library: Library, scratch: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> Iterator[Crew]:
    # For procq itself, and for its workers who inherit it.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{url}/v1/traces")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    with place_of(library, scratch) as (place, socket):
        names = ("PLACE", "BROKER", "HUEY_STORAGE", "POSTGRES")
        environment = {**dict.fromkeys(names, place), "REDIS_SOCKET": socket, "TAKES": "0.05", "TRACED": library.traced}
        command, folder = f"exec {library.worker}", library.environment
        with crew(scratch, command, environment, "    shell: yes\n", libraries=folder) as made:
            yield made


def above(span: Any) -> tuple[int, int]:
    return int.from_bytes(span.trace_id), int.from_bytes(span.parent_span_id)


def spans(receiver: Receiver, name: str) -> list[Any]:
    """Those with such a name, or whose name begins with it, in the order in which they began."""
    found = [span for span in receiver.spans() if f"{span.name} ".startswith(f"{name} ")]
    return sorted(found, key=lambda span: int(span.start_time_unix_nano))


def ids(span: Any) -> tuple[int, int]:
    return int.from_bytes(span.trace_id), int.from_bytes(span.span_id)


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_each_attempt_has_a_span_around_what_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: Library
) -> None:
    with receiving() as receiver, working(library, tmp_path, monkeypatch, receiver.url) as made:
        made.python(library.send)
        made.write(1, 1)
        made.procq("up", "-d", "--wait")
        wait("the jobs", lambda: made.finished() == 3 and len(spans(receiver, "process")) >= 4, made)
        made.procq("scale", "work=0")
        wait("the life of the worker", lambda: spans(receiver, "procq.worker"), made)
        (life,) = [span for span in receiver.spans() if span.name == "procq.worker"]
        attempts = spans(receiver, "process")
        known = {span.span_id: span for span in attempts}
        assert len(attempts) == 4, [attributes(span) for span in attempts]
        for span in attempts:
            said = attributes(span)
            assert (span.kind, span.name) == (CONSUMER, f"process {library.destination}")
            assert (said["messaging.system"], said["messaging.destination.name"]) == (library.name, library.destination)
            assert (said["procq.worker"], said["procq.generation"]) == ("work.1", attributes(life)["procq.generation"])
            assert said["messaging.message.id"] and "work" in said["procq.job.name"]
            assert ids(life) in [(int.from_bytes(link.trace_id), int.from_bytes(link.span_id)) for link in span.links]
            assert life.start_time_unix_nano < span.start_time_unix_nano < span.end_time_unix_nano
        around = {
            job: [known[span.parent_span_id] for span in spans(receiver, f"inside {job}")]
            for job in (DONE, FAILS, RETRIED)
        }
        (done,), (failed,), (first, second) = around[DONE], around[FAILS], around[RETRIED]
        assert len({span.span_id for span in (done, failed, first, second)}) == 4
        assert [span.status.code for span in (done, failed, first, second)] == [0, ERROR, 0, 0]
        assert [attributes(span).get("procq.retried", False) for span in (done, failed, first, second)] == [
            False,
            False,
            True,
            False,
        ]
        assert above(done) == (SENT if library.sender else (ids(done)[0], 0))
        assert all(span.parent_span_id == b"" for span in (failed, first, second))


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_an_instrumentation_of_the_same_jobs_gets_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: str
) -> None:
    """Celery's own span of an attempt is around ours, and none of either is left over for the next attempt."""
    library = replace(LIBRARIES[f"celery-{pool}-early"], traced="instrumented")
    with receiving() as receiver, working(library, tmp_path, monkeypatch, receiver.url) as made:
        made.python(library.send)
        made.write(1, 1)
        made.procq("up", "-d", "--wait")
        wait("the jobs", lambda: made.finished() == 3 and len(theirs(receiver, "run")) == 4, made)
        wait("our spans", lambda: len(spans(receiver, "process")) == 4, made)
        ours = spans(receiver, "process")
        runs, sent = theirs(receiver, "run"), theirs(receiver, "apply_async")
        assert (len(ours), len(sent)) == (4, 4)
        assert {above(span) for span in ours} == {ids(span) for span in runs}
        assert {above(span) for span in runs} == {ids(span) for span in sent}
        inside = [span for job in (DONE, FAILS, RETRIED) for span in spans(receiver, f"inside {job}")]
        assert {above(span) for span in inside} == {ids(span) for span in ours}
        (again,) = [span for span in sent if span.parent_span_id]
        assert above(again) in {ids(span) for span in ours}, "what is tried again is sent by the first attempt"


def theirs(receiver: Receiver, kind: str) -> list[Any]:
    return [span for span in receiver.spans() if span.name == f"{kind}/celery_jobs.work"]
