"""Which queues want their output sent, and what to do where nobody receives it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from procq.model import Manifest
from procq.telemetry.asked import file
from procq.text import listing

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_EXPORTER = "OTEL_LOGS_EXPORTER"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def sending(manifest: Manifest) -> tuple[str, ...]:
    """The queues whose output is to be sent."""
    return tuple(name for name, queue in manifest.queues.items() if queue.logs.otlp)


def no_receiver(queues: Sequence[str]) -> str:
    """What is wrong where output of these is to be sent and cannot be."""
    return f"logs.otlp is yes for {listing(queues)}, and nothing receives it"


def remedy(environ: Mapping[str, str]) -> str:
    """What to do about it where `environ` asks for no log to be sent."""
    found = file(environ)
    if found is not None:
        variable, path = found
        return f"add a `logger_provider` to {path} ({variable}), which must not be `disabled`"
    return f"{'; '.join(_steps(environ))} in the environment of `procq up`"


def _steps(environ: Mapping[str, str]) -> Iterator[str]:
    given = {name for name, value in environ.items() if value.strip()}
    off = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if off:
        yield "take OTEL_SDK_DISABLED out"
    exporters = {each.strip().lower() for each in environ.get(_EXPORTER, "").split(",")}
    unused = _EXPORTER in given and "otlp" not in exporters
    if unused:
        yield f"take {_EXPORTER} out, or set it to otlp"
    if not {_ENDPOINT, "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"} & given:
        yield f"set {_ENDPOINT}, as in http://localhost:4318"
    elif not off and not unused:
        protocol = next((name for name in _PROTOCOLS if name in given), _PROTOCOLS[-1])
        yield f"set {protocol} to http/protobuf or grpc"
