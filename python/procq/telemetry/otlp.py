"""What knows the libraries of OpenTelemetry: what is sent, in their words, and how it leaves.

Importing them and building exporters takes about half a second: done in a thread, once the workers run. Spans and
histograms are finished when they come here, so they are not recorded anew with tracers and meters: they are put into
the values that the exporters of the SDK take, which `exporters` builds.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.metrics import export as metrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace.status import Status, StatusCode

from procq.telemetry.config import Signal
from procq.telemetry.family import Family, Kind, pieces
from procq.telemetry.histogram import Buckets
from procq.telemetry.lane import Send
from procq.telemetry.logs import Record
from procq.telemetry.resource import Value
from procq.telemetry.spans import Context, Moment, Span

_SCHEMA = "https://opentelemetry.io/schemas/1.37.0"
_STATUS = re.compile(r"code: (?P<http>\d{3})\b|StatusCode\.(?P<grpc>[A-Z_]+)")
_SILENT = frozenset(("UNAVAILABLE", "DEADLINE_EXCEEDED"))
"""Of gRPC: nobody is there, or says anything in time."""
_SAMPLED = trace.TraceFlags(trace.TraceFlags.SAMPLED)


@dataclass(frozen=True, slots=True)
class Words:
    """Says things as the SDK does. `offset` is added to the engine's clock to have seconds since the epoch."""

    resource: Resource
    scope: InstrumentationScope
    offset: float
    since: int
    """When the numbers that only grow began, nanoseconds since the epoch."""

    @classmethod
    def of(cls, attributes: Mapping[str, Value], version: str, offset: float, since: float) -> Words:
        """`since` is seconds since the epoch."""
        resource = Resource(dict(attributes), _SCHEMA)
        return cls(resource, InstrumentationScope("procq", version), offset, _nanoseconds(since))

    def span(self, span: Span) -> ReadableSpan:
        """A span that is over."""
        return ReadableSpan(
            name=span.name,
            context=_context(span.context),
            parent=_context(span.parent) if span.parent else None,
            resource=self.resource,
            attributes=dict(span.attributes),
            events=tuple(self._moment(moment) for moment in span.moments),
            links=tuple(trace.Link(_context(each)) for each in span.links),
            kind=trace.SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET),
            start_time=_nanoseconds(span.start + self.offset),
            end_time=_nanoseconds(span.end + self.offset),
            instrumentation_scope=self.scope,
        )

    def _moment(self, moment: Moment) -> Event:
        return Event(moment.name, dict(moment.attributes), _nanoseconds(moment.at + self.offset))

    def record(self, record: Record) -> ReadableLogRecord:
        """A record of the log."""
        context = None
        if record.context is not None:
            context = trace.set_span_in_context(trace.NonRecordingSpan(_context(record.context)))
        said = LogRecord(
            timestamp=_nanoseconds(record.at),
            observed_timestamp=None if record.observed is None else _nanoseconds(record.observed),
            context=context,
            severity_number=SeverityNumber(int(record.severity)),
            severity_text=record.severity.name if record.severity else None,
            body=record.text,
            attributes=dict(record.attributes),
            event_name=f"procq.{record.kind}" if record.kind else None,
        )
        return ReadableLogRecord(said, self.resource, self.scope)

    def reading(self, families: Sequence[Family], at: float) -> metrics.MetricsData:
        """All numbers at one moment, `at` in seconds since the epoch."""
        now = _nanoseconds(at)
        told = [self._metric(family, now) for family in families if family.points]
        scope = metrics.ScopeMetrics(self.scope, told, "")
        return metrics.MetricsData([metrics.ResourceMetrics(self.resource, [scope], _SCHEMA)])

    def _metric(self, family: Family, now: int) -> metrics.Metric:
        cumulative = metrics.AggregationTemporality.CUMULATIVE
        data: Any
        match family.kind:
            case Kind.GAUGE:
                data = metrics.Gauge(self._numbers(family, now))
            case Kind.COUNTER:
                data = metrics.Sum(self._numbers(family, now), cumulative, True)
            case Kind.HISTOGRAM:
                data = metrics.Histogram(self._histograms(family, now), cumulative)
        return metrics.Metric(family.name, family.help, family.unit, data)

    def _numbers(self, family: Family, now: int) -> list[metrics.NumberDataPoint]:
        return [
            metrics.NumberDataPoint(dict(point.labels), self.since, now, point.value)
            for point in family.points
            if not isinstance(point.value, Buckets)
        ]

    def _histograms(self, family: Family, now: int) -> list[metrics.HistogramDataPoint]:
        # Smallest and largest are not known, and are left out: the encoder takes None.
        unknown: Any = None
        return [
            metrics.HistogramDataPoint(
                attributes=dict(point.labels),
                start_time_unix_nano=self.since,
                time_unix_nano=now,
                count=point.value.number,
                sum=point.value.total,
                bucket_counts=list(point.value.counts),
                explicit_bounds=list(point.value.bounds),
                min=unknown,
                max=unknown,
            )
            for point in family.points
            if isinstance(point.value, Buckets)
        ]


def _context(context: Context) -> trace.SpanContext:
    return trace.SpanContext(context.trace, context.span, is_remote=False, trace_flags=_SAMPLED)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


# --- the way out ----------------------------------------------------------------------------------------------------


def spans(out: Any, words: Words) -> Send[Span]:
    """What sends spans by an exporter."""
    return lambda batch: out.export([words.span(span) for span in batch]) is SpanExportResult.SUCCESS


def records(out: Any, words: Words) -> Send[Record]:
    """What sends records of the log by an exporter."""
    return lambda batch: out.export([words.record(each) for each in batch]) is LogRecordExportResult.SUCCESS


@dataclass(frozen=True, slots=True)
class Reading:
    """All numbers at the moment `at`, seconds since the epoch."""

    families: Sequence[Family]
    at: float


POINTS: Final = 500
"""Points of a message: a reading of ten thousand workers takes no more memory at once, nor more than receivers take."""


def readings(out: Any, words: Words) -> Send[Reading]:
    """What sends numbers by an exporter, in as many messages as it takes; one that is not taken is the last of them."""

    def send(batch: Sequence[Reading]) -> bool:
        told = (out.export(words.reading(part, each.at)) for each in batch for part in pieces(each.families, POINTS))
        return all(each is metrics.MetricExportResult.SUCCESS for each in told)

    return send


class Answers(logging.Handler):
    """Hears what the exporters log, and keeps the last reason why nothing arrived: the texts may say too much.

    Each exporter has a thread to itself, which tells whose reason it is. Nothing of what is logged goes any further: it
    would be a line on a terminal for each attempt.
    """

    def __init__(self, libraries: Sequence[str] = ("opentelemetry", "urllib3", "grpc")) -> None:
        super().__init__(logging.WARNING)
        self._here = threading.local()
        for library in libraries:
            logger = logging.getLogger(library)
            logger.propagate = False
            logger.handlers = [self]

    def emit(self, record: logging.LogRecord) -> None:
        """Takes note of a status."""
        found = _STATUS.search(record.getMessage())
        status = None if found is None else found["http"] or found["grpc"]
        silent = status is None or status in _SILENT
        self._here.last = "it does not answer" if silent else f"it answers with status {status}"

    def about(self) -> str:
        """Why what this thread sent did not arrive, in words."""
        return getattr(self._here, "last", "it does not take them")


BUILD: Mapping[Signal, Callable[[Any, Words], Send[Any]]] = {
    Signal.TRACES: spans,
    Signal.METRICS: readings,
    Signal.LOGS: records,
}
