"""A span for each job, where the process has OpenTelemetry in use. Nothing of it is imported here where it has not.

It is in use once a program has set a tracer provider for the whole process, as its setup does. The span is of kind
consumer, as the semantic conventions for messaging have it: below the span that is current where the job begins, or
else below that of the message. It is linked to the message's, and to the span that procq itself makes of the worker's
life (`PROCQ_SPAN`): not below that one, which may last for months and is of another trace.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple, TypeAlias

API: Final = "opentelemetry.trace"
_SCHEMA: Final = "https://opentelemetry.io/schemas/1.37.0"
_OPERATION: Final = "process"
_NAME: Final = "procq"
"""How `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS` names what is made here."""


class Origin(NamedTuple):
    """Where a job comes from, for its span: the messaging system, its queue there, and the headers of its message."""

    system: str = ""
    destination: str = ""
    headers: Mapping[Any, Any] | None = None


AnyOrigin: TypeAlias = Origin | tuple[str, str, Mapping[Any, Any] | None]
_UNKNOWN: Final = Origin()
_JOB: Final = "procq-job"
"""Where a context of OpenTelemetry says which job it is in."""
_DEEPEST: Final = 16
"""Jobs in each other in one thread or task: beyond, somebody does not leave what it has entered."""


class Tracing:
    """Makes the spans of one process; none outside procq."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        disabled = environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")
        self._on = bool(environ.get("PROCQ_WORKER_ID")) and _NAME not in (name.strip() for name in disabled)
        self._queue = environ.get("PROCQ_QUEUE", "")
        self._attributes: dict[str, str | int] = {
            "messaging.operation.type": _OPERATION,
            "messaging.operation.name": _OPERATION,
            "procq.queue": self._queue,
            "procq.worker": environ.get("PROCQ_WORKER_ID", ""),
            "procq.generation": _number(environ.get("PROCQ_GENERATION", "")),
        }
        # Whoever asks for the provider first sets that one.
        self._named = "OTEL_PYTHON_TRACER_PROVIDER" in environ
        self._life = environ.get("PROCQ_SPAN", "")
        self._links: list[Any] | None = None
        self._provider: Any = None
        self._tracer: Any = None

    def begin(self, id: object, name: object, origin: AnyOrigin | None) -> JobSpan | None:
        """The span of a job that begins here, current from now on; None where nobody makes spans."""
        api = sys.modules.get(API)
        if api is None or not self._on:
            return None
        # Libraries import the API without being asked to. To ask it for a provider takes longer than all else here.
        if self._provider is None and not self._named and getattr(api, "_TRACER_PROVIDER", api) is None:
            return None
        if self._provider is None and not _whole(api):
            return None
        try:
            return self._begun(api, id, name, _UNKNOWN if origin is None else Origin(*origin))
        except Exception:
            self._on = False
            _complain("jobs have no spans any more")
            return None

    def _begun(self, api: Any, id: object, name: object, origin: Origin) -> JobSpan | None:
        provider = api.get_tracer_provider()
        if provider is not self._provider:
            pretended = isinstance(provider, api.ProxyTracerProvider)
            self._provider = provider
            self._tracer = None if pretended else provider.get_tracer("procq.worker", schema_url=_SCHEMA)
        if self._tracer is None:
            return None
        context = import_module("opentelemetry.context")
        _leave(context)
        before = context.get_current()
        around: JobSpan | None = before.get(_JOB)
        depth = 0 if around is None else around.depth + 1
        if depth > _DEEPEST:
            before, around, depth = context.Context(), None, 0
        # Two jobs at once in one thread have nothing to do with each other.
        parent = before if around is None or around.inside is not before else around.base
        links = self._to_life(api)
        if (sent := _sent(origin.headers)) is not None:
            message = api.get_current_span(sent).get_span_context()
            links = [*links, api.Link(message)]
            if not api.get_current_span(parent).get_span_context().is_valid:
                parent = sent
        destination = origin.destination or self._queue
        span = self._tracer.start_span(
            f"{_OPERATION} {destination}",
            parent,
            kind=api.SpanKind.CONSUMER,
            attributes=self._attributes | _of_job(id, name, origin.system, destination),
            links=links,
        )
        if not span.get_span_context().is_valid:
            return None
        made = JobSpan(api, span, before, parent, depth)
        made.inside = context.set_value(_JOB, made, api.set_span_in_context(span, parent))
        context.attach(made.inside)
        return made

    def _to_life(self, api: Any) -> list[Any]:
        if self._links is None:
            self._links = []
            if self._life:
                _, trace, span, flags = (int(part, 16) for part in self._life.split("-"))
                self._links = [api.Link(api.SpanContext(trace, span, True, api.TraceFlags(flags)))]
        return self._links


class JobSpan:
    """The span of one job. It is left where the job ends, or else when that thread or task begins another one."""

    __slots__ = ("_api", "_span", "base", "before", "depth", "inside", "over")

    def __init__(self, api: Any, span: Any, before: Any, base: Any, depth: int) -> None:
        """`before` was current until it began, `base` is what it is below, `depth` how many jobs it is in."""
        self._api, self._span = api, span
        self.before, self.base, self.depth = before, base, depth
        self.inside: Any = None
        self.over = False

    def end(self, *, failed: bool = False, retried: bool = False, error: type[BaseException] | None = None) -> None:
        """The job has ended, by `error` where that is known. Only the first time counts."""
        if self.over:
            return
        self.over = True
        try:
            self._end(failed, retried, error)
        except Exception:
            _complain("a span of a job is lost")
        _leave(import_module("opentelemetry.context"))

    def _end(self, failed: bool, retried: bool, error: type[BaseException] | None) -> None:
        if failed:
            self._span.set_status(self._api.Status(self._api.StatusCode.ERROR))
        if retried:
            self._span.set_attribute("procq.retried", True)
        if failed or error is not None:
            self._span.set_attribute("error.type", "_OTHER" if error is None else error.__qualname__)
        self._span.end()


def _whole(api: Any) -> bool:
    """Whether nobody is importing it at this moment: until that is done, some of it may not be there."""
    if getattr(getattr(api, "__spec__", None), "_initializing", False):
        return False
    return hasattr(api, "get_tracer_provider") and hasattr(api, "ProxyTracerProvider")


def _leave(context: Any) -> None:
    """Leaves the spans of jobs that are over, as far as this thread or task is in them and in nothing inside them.

    Not by their tokens: who ends a job may be another thread or task than who began it, and of two jobs of one thread
    the first may end first.
    """
    current = context.get_current()
    while (job := current.get(_JOB)) is not None and job.over and job.inside is current:
        current = job.before
        context.attach(current)


def _sent(headers: Mapping[Any, Any] | None) -> Any:
    """The context that a message brings along, None for none. Propagators as the process has them."""
    if not headers or "traceparent" not in headers:
        return None
    texts = {name: value for name, value in headers.items() if isinstance(name, str) and isinstance(value, str)}
    sent = import_module("opentelemetry.propagate").extract(texts)
    return sent if sys.modules[API].get_current_span(sent).get_span_context().is_valid else None


def _complain(what: str) -> None:
    """A job does not fail for its span."""
    import logging

    logging.getLogger(__name__).warning("%s: OpenTelemetry has failed", what, exc_info=True)


def _of_job(id: object, name: object, system: str, destination: str) -> dict[str, str]:
    known = {
        "messaging.system": system,
        "messaging.destination.name": destination,
        "messaging.message.id": str(id),
        "procq.job.name": str(name),
    }
    return {key: value for key, value in known.items() if value}


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
