"""The SDK of OpenTelemetry, set up as programs do; imported where TRACED says so."""

from __future__ import annotations

import os

from opentelemetry import trace


def set_up(**_: object) -> None:
    """Spans are sent as soon as they are over: work horses leave without a word."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def instrument() -> None:
    """Celery's instrumentation, by others, which makes spans of jobs too."""
    from opentelemetry.instrumentation.celery import CeleryInstrumentor

    CeleryInstrumentor().instrument()


def inside(job: int) -> None:
    """A span of the job's own."""
    trace.get_tracer("work").start_span(f"inside {job}").end()


if os.environ["TRACED"] != "late":
    set_up()
if os.environ["TRACED"] == "instrumented":
    instrument()
