"""Spans of jobs and of the lives of workers: by workers that have an SDK of their own, and by a real procq."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.waiting import until
from tests.servers.otlp import Receiver, attributes, receiving

pytestmark = pytest.mark.process

WORKERS = Path(__file__).parent / "workers"
TRACED = f"queues:\n  emails:\n    command: {sys.executable} {WORKERS / 'traced.py'}\n    workers: {{workers}}\n"
ERROR = 2
"""STATUS_CODE_ERROR of OTLP."""
CONSUMER = 5


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def started(procqs: Procqs, manifest: str, url: str, workers: int, **variables: str) -> Procq:
    procq = procqs(manifest)
    procq.environment |= {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{url}/v1/traces", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    procq.environment |= variables
    procq.start(workers)
    assert procq.baseline is not None
    # The connection to the receiver stays open.
    procq.baseline = replace(procq.baseline, control_plane=procq.baseline.control_plane + 1)
    return procq


def named(receiver: Receiver, name: str) -> list[Any]:
    return [span for span in receiver.spans() if span.name == name]


def jobs(receiver: Receiver) -> dict[str, Any]:
    """By their ids."""
    spans = [span for span in receiver.spans() if span.name.startswith("process ")]
    return {attributes(span)["messaging.message.id"]: span for span in spans}


def ids(span: Any) -> tuple[bytes, bytes]:
    return span.trace_id, span.span_id


def links(span: Any) -> list[tuple[bytes, bytes]]:
    return [(link.trace_id, link.span_id) for link in span.links]


def test_jobs_are_linked_to_the_life_of_their_worker_which_procq_sends(procqs: Procqs, receiver: Receiver) -> None:
    procq = started(procqs, TRACED.format(workers=1) + "    ready: notify\n", receiver.url, 1)
    until(lambda: len(jobs(receiver)) == 3, lambda: str(receiver.spans()))
    until(lambda: named(receiver, "procq.worker.start"), "the start")
    assert named(receiver, "procq.worker") == [], "it lives"
    (running,) = procq.workers().values()
    procq.save(TRACED.format(workers=0))
    until(lambda: named(receiver, "procq.worker"), "the life")
    (life,), (start,) = named(receiver, "procq.worker"), named(receiver, "procq.worker.start")
    assert life.parent_span_id == b""
    assert (links(life), links(start)) == ([ids(start)], [ids(life)])
    found = jobs(receiver)
    for span in found.values():
        assert links(span) == [ids(life)]
        assert span.trace_id != life.trace_id
        assert span.kind == CONSUMER
        assert life.start_time_unix_nano < span.start_time_unix_nano < span.end_time_unix_nano
        assert span.end_time_unix_nano < life.end_time_unix_nano
        said = attributes(span)
        assert (said["procq.queue"], said["procq.worker"]) == ("emails", "emails.1")
        assert said["procq.generation"] == attributes(life)["procq.generation"]
        assert said["procq.job.name"] == "send"
    assert {id: span.status.code for id, span in found.items()} == {"done": 0, "failed": ERROR, "retried": 0}
    assert attributes(found["failed"])["error.type"] == "ZeroDivisionError"
    assert attributes(found["retried"])["procq.retried"] is True
    assert {span.name for span in found.values()} == {"process mail", "process emails"}
    (inside,) = named(receiver, "look up")
    assert (inside.trace_id, inside.parent_span_id) == ids(found["done"])
    assert attributes(life)["process.pid"] == running.pid
    sent = [each for message in receiver.traces for each in message.resource_spans]
    names = {
        attributes(each.resource)["service.name"]: {span.name for scope in each.scope_spans for span in scope.spans}
        for each in sent
    }
    assert set(names) == {"procq", "emails"}


def test_the_life_is_the_same_where_another_control_plane_sees_its_end(procqs: Procqs, receiver: Receiver) -> None:
    procq = started(procqs, TRACED.format(workers=2) + "    ready: notify\n", receiver.url, 2)
    until(lambda: len(named(receiver, "process mail")) == 2, "the jobs")
    until(lambda: len(named(receiver, "procq.worker.start")) == 2, "the starts")
    procq.kill_control_plane()
    until(lambda: named(receiver, "procq.takeover"), "the other one")
    worker = procq.workers()["emails.2"]
    psutil.Process(worker.pid).kill()
    until(lambda: named(receiver, "procq.worker"), "the life")
    (life,) = named(receiver, "procq.worker")
    assert attributes(life)["process.pid"] == worker.pid
    assert life.status.code == ERROR and attributes(life)["procq.end"] == "SIGKILL"
    assert ids(life) in [link for span in named(receiver, "procq.worker.start") for link in links(span)]
    (job,) = [span for span in named(receiver, "process mail") if attributes(span)["procq.worker"] == "emails.2"]
    assert links(job) == [ids(life)]
    assert life.start_time_unix_nano < job.start_time_unix_nano < life.end_time_unix_nano


CAUSE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TELLS = """\
queues:
  migrate:
    command: sh -c 'echo migrate $TRACEPARENT $PROCQ_SPAN >> told'
    restart: never
  emails:
    command: sh -c 'echo emails $TRACEPARENT $PROCQ_SPAN >> told; exec sleep 1000'
    health:
      command: sh -c 'echo health $TRACEPARENT $PROCQ_SPAN >> told'
      every: 200ms
  orders:
    command: sleep 1000
    workers: 1..2
    source: exec:echo source $TRACEPARENT $PROCQ_SPAN >> told; echo 0
"""


def told(procq: Procq) -> dict[str, list[str]]:
    """What each has been told, the first time."""
    path = procq.folder / "told"
    lines = path.read_text().splitlines() if path.exists() else []
    return {line.split()[0]: line.split()[1:] for line in reversed(lines)}


def test_what_runs_once_has_the_context_of_its_life_and_what_lives_on_has_none(
    procqs: Procqs, receiver: Receiver
) -> None:
    procq = started(procqs, TELLS, receiver.url, 2, TRACEPARENT=CAUSE)
    until(lambda: len(told(procq)) == 4, lambda: str(told(procq)))
    until(lambda: named(receiver, "procq.worker"), "the life of what has run once")
    (life,) = named(receiver, "procq.worker")
    known = f"00-{life.trace_id.hex()}-{life.span_id.hex()}-01"
    found = told(procq)
    assert attributes(life)["procq.queue"] == "migrate"
    assert found["migrate"] == [known, known]
    (emails,) = found["emails"]
    assert found["health"] == [emails]
    assert found["source"] == []
    (start,) = [span for span in named(receiver, "procq.worker.start") if attributes(span)["procq.queue"] == "emails"]
    assert [f"00-{trace.hex()}-{span.hex()}-01" for trace, span in links(start)] == [emails]


def test_what_procq_was_given_is_handed_on_where_nothing_is_sent(procqs: Procqs) -> None:
    procq = procqs(TELLS)
    procq.environment["TRACEPARENT"] = CAUSE
    procq.start(2)
    until(lambda: len(told(procq)) == 4, lambda: str(told(procq)))
    assert told(procq) == {"migrate": [CAUSE], "emails": [CAUSE], "health": [CAUSE], "source": [CAUSE]}
