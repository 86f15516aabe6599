"""Spans of jobs, made with the real SDK: what they say, what they are below, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
from opentelemetry import context, trace
from opentelemetry.propagate import inject
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from procq.worker.tracing import JobSpan, Origin, Tracing

PACKAGE = Path(__file__).resolve().parents[3] / "python"
TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
ENVIRON = {
    "PROCQ_WORKER_ID": "emails.3",
    "PROCQ_QUEUE": "emails",
    "PROCQ_GENERATION": "17",
    "PROCQ_SPAN": f"00-{TRACE:032x}-{SPAN:016x}-01",
}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What is told by a provider that is set for the whole process, as long as a test takes."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    token = context.attach(context.Context())
    yield exporter
    assert context.get_current() == {}, "nothing stays current"
    context.detach(token)


def begun(tracing: Tracing, id: object = 1, origin: Origin | None = None) -> JobSpan:
    span = tracing.begin(id, "send", origin)
    assert span is not None
    return span


def named(told: InMemorySpanExporter) -> dict[object, ReadableSpan]:
    """By the ids of their jobs; by name where they have none."""
    spans = told.get_finished_spans()
    return {(span.attributes or {}).get("messaging.message.id", span.name): span for span in spans}


def ids(span: ReadableSpan | None) -> tuple[int, int]:
    assert span is not None and span.context is not None
    return span.context.trace_id, span.context.span_id


def above(span: ReadableSpan) -> tuple[int, int] | None:
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


def test_a_span_says_what_the_conventions_have_and_is_linked_to_the_life_of_its_worker(
    told: InMemorySpanExporter,
) -> None:
    tracing = Tracing(ENVIRON)
    begun(tracing, "a1", Origin("rabbitmq", "mail")).end()
    (span,) = told.get_finished_spans()
    assert (span.name, span.kind, span.parent) == ("process mail", SpanKind.CONSUMER, None)
    assert dict(span.attributes or {}) == {
        "messaging.system": "rabbitmq",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": "mail",
        "messaging.message.id": "a1",
        "procq.job.name": "send",
        "procq.queue": "emails",
        "procq.worker": "emails.3",
        "procq.generation": 17,
    }
    assert [(link.context.trace_id, link.context.span_id) for link in span.links] == [(TRACE, SPAN)]
    assert span.links[0].context.is_remote and span.links[0].context.trace_flags.sampled
    assert span.status.status_code is StatusCode.UNSET
    scope = span.instrumentation_scope
    assert scope is not None and scope.name == "procq.worker"


def test_a_job_without_an_origin_comes_from_the_queue_of_procq(told: InMemorySpanExporter) -> None:
    begun(Tracing(ENVIRON)).end()
    (span,) = told.get_finished_spans()
    assert span.name == "process emails"
    assert span.attributes is not None and "messaging.system" not in span.attributes


def test_how_a_job_has_ended_is_told_once(told: InMemorySpanExporter) -> None:
    tracing = Tracing(ENVIRON)
    for id in ("failed", "retried", "done"):
        span = begun(tracing, id)
        span.end(failed=id == "failed", retried=id == "retried")
        span.end(failed=True)
    begun(tracing, "raised").end(failed=True, error=ZeroDivisionError)
    found = named(told)
    assert len(told.get_finished_spans()) == 4
    codes = {id: span.status.status_code for id, span in found.items()}
    assert codes == {
        "failed": StatusCode.ERROR,
        "raised": StatusCode.ERROR,
        "retried": StatusCode.UNSET,
        "done": StatusCode.UNSET,
    }
    errors = {id: (span.attributes or {}).get("error.type") for id, span in found.items()}
    assert errors == {"failed": "_OTHER", "raised": "ZeroDivisionError", "retried": None, "done": None}
    assert {id for id, span in found.items() if (span.attributes or {}).get("procq.retried")} == {"retried"}


def test_what_a_job_does_is_below_it_and_what_follows_is_not(told: InMemorySpanExporter) -> None:
    tracing, tracer = Tracing(ENVIRON), trace.get_tracer("test")
    job = begun(tracing)
    tracer.start_span("inside").end()
    job.end()
    tracer.start_span("outside").end()
    found = named(told)
    assert above(found["inside"]) == ids(found["1"])
    assert above(found["outside"]) is None


def test_a_span_that_is_current_is_above_the_job_and_stays_so(told: InMemorySpanExporter) -> None:
    tracing, tracer = Tracing(ENVIRON), trace.get_tracer("test")
    with tracer.start_as_current_span("loop") as loop:
        begun(tracing).end()
        assert trace.get_current_span() is loop
    found = named(told)
    assert above(found["1"]) == ids(found["loop"])


def test_the_message_is_above_the_job_unless_something_else_is_and_linked_in_any_case(
    told: InMemorySpanExporter,
) -> None:
    tracing, tracer = Tracing(ENVIRON), trace.get_tracer("test")
    headers: dict[str, object] = {"retries": 3, "raw": b"bytes"}
    with tracer.start_as_current_span("send"):
        inject(headers)
    begun(tracing, "alone", Origin(headers=headers)).end()
    with tracer.start_as_current_span("loop"):
        begun(tracing, "in a loop", Origin(headers=headers)).end()
    begun(tracing, "without", Origin(headers={"traceparent": "nonsense"})).end()
    found = named(told)
    sent = ids(found["send"])
    assert above(found["alone"]) == sent
    assert above(found["in a loop"]) == ids(found["loop"])
    assert above(found["without"]) is None
    for id, more in (("alone", [sent]), ("in a loop", [sent]), ("without", [])):
        links = [(link.context.trace_id, link.context.span_id) for link in found[id].links]
        assert links == [(TRACE, SPAN), *more]


def test_two_jobs_of_one_thread_are_beside_each_other_whichever_ends_first(told: InMemorySpanExporter) -> None:
    tracing, tracer = Tracing(ENVIRON), trace.get_tracer("test")
    first, second = begun(tracing, "first"), begun(tracing, "second")
    tracer.start_span("of the second").end()
    first.end()
    second.end()
    first, second = begun(tracing, "third"), begun(tracing, "fourth")
    second.end()
    tracer.start_span("of the third").end()
    first.end()
    found = named(told)
    assert [above(found[id]) for id in ("first", "second", "third", "fourth")] == [None] * 4
    assert above(found["of the second"]) == ids(found["second"])
    assert above(found["of the third"]) == ids(found["third"])


def test_a_job_that_another_thread_ends_is_left_where_the_next_one_begins(told: InMemorySpanExporter) -> None:
    tracing = Tracing(ENVIRON)
    for id in ("1", "2"):
        job = begun(tracing, id)
        assert job.depth == 0, "in no other one"
        thread = threading.Thread(target=job.end)
        thread.start()
        thread.join()
    begun(tracing, "3").end()
    assert above(named(told)["2"]) is above(named(told)["3"]) is None


def test_a_job_that_ends_inside_a_span_of_its_own_is_left_once_that_is_left(told: InMemorySpanExporter) -> None:
    tracing, tracer = Tracing(ENVIRON), trace.get_tracer("test")
    job = begun(tracing, "1")
    with tracer.start_as_current_span("inside") as inside:
        job.end()
        assert trace.get_current_span() is inside
    begun(tracing, "2").end()
    found = named(told)
    assert above(found["inside"]) == ids(found["1"])
    assert above(found["2"]) is None


def test_tasks_each_have_their_job(told: InMemorySpanExporter) -> None:
    tracing, tracer = Tracing(ENVIRON), trace.get_tracer("test")

    async def work(id: str) -> None:
        job = begun(tracing, id)
        await asyncio.sleep(0)
        await asyncio.create_task(below(f"below {id}"))
        job.end()

    async def below(name: str) -> None:
        tracer.start_span(name).end()

    async def all_of_them() -> None:
        await asyncio.gather(*(work(str(n)) for n in range(5)))

    asyncio.run(all_of_them())
    found = named(told)
    for n in range(5):
        assert above(found[str(n)]) is None
        assert above(found[f"below {n}"]) == ids(found[str(n)])


def test_contexts_that_are_never_left_do_not_pile_up(told: InMemorySpanExporter) -> None:
    tracing = Tracing(ENVIRON)
    for n in range(100):
        job = begun(tracing, n)
        context.attach(context.set_value("entered", n))  # and nobody leaves it
        job.end()
    assert job.depth <= 16
    context.attach(context.Context())


def test_what_is_not_sampled_is_not_told_but_what_is_below_knows(
    told: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF)
    provider.add_span_processor(SimpleSpanProcessor(told))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    job = begun(Tracing(ENVIRON))
    assert trace.get_current_span().get_span_context().is_valid
    job.end()
    assert told.get_finished_spans() == ()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {**ENVIRON, "PROCQ_WORKER_ID": ""},
        {**ENVIRON, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "redis, procq"},
    ],
    ids=["nothing", "outside procq", "disabled"],
)
def test_there_is_none_outside_procq_or_where_it_is_not_wanted(
    told: InMemorySpanExporter, environ: dict[str, str]
) -> None:
    assert Tracing(environ).begin("1", "send", None) is None


def test_there_is_none_while_nobody_has_set_a_provider(
    told: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracing = Tracing(ENVIRON)
    with monkeypatch.context() as unset:
        unset.setattr(trace, "_TRACER_PROVIDER", None)
        assert tracing.begin("1", "send", None) is None
    begun(tracing, "2").end()
    assert set(named(told)) == {"2"}


def test_who_asks_first_sets_the_provider_that_a_variable_names(
    told: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = trace.get_tracer_provider()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    assert Tracing(ENVIRON).begin("1", "send", None) is None
    begun(Tracing({**ENVIRON, "OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider"}), "2").end()
    assert set(named(told)) == {"2"}


@pytest.mark.parametrize("missing", [None, "get_tracer_provider", "ProxyTracerProvider"])
def test_there_is_none_while_another_thread_imports_it_and_there_are_later(
    told: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, missing: str | None
) -> None:
    """A module is in `sys.modules` before all that it will have is there."""
    tracing = Tracing(ENVIRON)
    half = ModuleType("opentelemetry.trace")
    if missing is None:
        half.__spec__ = ModuleSpec("opentelemetry.trace", None)
        half.__spec__._initializing = True  # type: ignore[attr-defined]
    for name in ("get_tracer_provider", "ProxyTracerProvider"):
        if missing is not None and name != missing:
            setattr(half, name, getattr(trace, name))
    with monkeypatch.context() as importing:
        importing.setitem(sys.modules, "opentelemetry.trace", half)
        assert tracing.begin("1", "send", None) is None
    begun(tracing, "2").end()
    assert set(named(told)) == {"2"}
    assert caplog.records == []


def test_a_job_does_not_fail_for_its_span(told: InMemorySpanExporter, caplog: pytest.LogCaptureFixture) -> None:
    tracing = Tracing({**ENVIRON, "PROCQ_SPAN": "nonsense"})
    assert tracing.begin("1", "send", None) is None
    assert tracing.begin("2", "send", None) is None
    assert [record.getMessage() for record in caplog.records] == [
        "jobs have no spans any more: OpenTelemetry has failed"
    ]


class Broken(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise ZeroDivisionError


def test_nor_for_its_end(told: InMemorySpanExporter, caplog: pytest.LogCaptureFixture) -> None:
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    provider.add_span_processor(Broken())
    tracing = Tracing(ENVIRON)
    begun(tracing, "1").end()
    begun(tracing, "2").end()
    assert [record.getMessage() for record in caplog.records] == [
        "a span of a job is lost: OpenTelemetry has failed"
    ] * 2


NOTHING = """
import sys
from procq import worker
with worker.job(1, "send", worker.Origin("redis", "mail", {"traceparent": "00"})):
    pass
assert not [name for name in sys.modules if name.startswith("opentelemetry")], sys.modules
import opentelemetry.trace
before = set(sys.modules)
with worker.job(2, "send"):
    pass
print(*sorted(set(sys.modules) - before))
"""


def test_nothing_is_imported_where_nobody_uses_it() -> None:
    environ = {**os.environ, **ENVIRON, "PYTHONPATH": str(PACKAGE)}
    command = [sys.executable, "-c", NOTHING]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
