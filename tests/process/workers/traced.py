"""Does jobs of each end with the SDK of OpenTelemetry set up: one with a span inside, one in vain, one to try again."""

import contextlib
import time

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from procq import worker

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("shop")

worker.ready()
with worker.job("done", "send", worker.Origin("redis", "mail")), tracer.start_as_current_span("look up"):
    time.sleep(0.01)
with contextlib.suppress(ZeroDivisionError), worker.job("failed", "send"):
    raise ZeroDivisionError
worker.job("retried", "send")
worker.retried()
while worker.may_work():
    time.sleep(0.01)
provider.shutdown()
