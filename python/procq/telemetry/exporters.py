"""Exporters of the SDK, built as a way out wants them. Imports no more than that way needs.

Without an endpoint an exporter asks the variables itself. With one, which is by file, it must not: they are meant for
another receiver, and their headers may hold its secrets.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from procq.telemetry import transport
from procq.telemetry.config import Endpoint, Means, Signal, Way
from procq.telemetry.packages import EXTRAS

if TYPE_CHECKING:
    from requests import PreparedRequest, Request, Session

_MODULES: Final[Mapping[Signal, str]] = {
    Signal.TRACES: "trace_exporter",
    Signal.METRICS: "metric_exporter",
    Signal.LOGS: "_log_exporter",
}
_CLASSES: Final[Mapping[Signal, str]] = {
    Signal.TRACES: "OTLPSpanExporter",
    Signal.METRICS: "OTLPMetricExporter",
    Signal.LOGS: "OTLPLogExporter",
}
_CONSOLES: Final[Mapping[Signal, tuple[str, str]]] = {
    Signal.TRACES: ("opentelemetry.sdk.trace.export", "ConsoleSpanExporter"),
    Signal.METRICS: ("opentelemetry.sdk.metrics.export", "ConsoleMetricExporter"),
    Signal.LOGS: ("opentelemetry.sdk._logs.export", "ConsoleLogRecordExporter"),
}
_OF_THE_BODY: Final = frozenset(("content-type", "content-encoding", "user-agent"))


class CannotBuild(Exception):
    """An exporter cannot be had. The text says why, and holds nothing that is secret."""


def exporter(signal: Signal, way: Way) -> Any:
    """The exporter for a signal. Raises CannotBuild, and what the libraries raise."""
    try:
        match way.means:
            case Means.HTTP:
                return _http(signal, way.endpoint)
            case Means.GRPC:
                return _grpc(signal, way.endpoint)
            case Means.CONSOLE:
                module, name = _CONSOLES[signal]
                return getattr(import_module(module), name)(out=sys.stdout)
    except ImportError as error:
        raise CannotBuild(missing(error, EXTRAS[way.means])) from error


def missing(error: ImportError, extra: str) -> str:
    """What to do about a package that is not there."""
    return (
        f"the Python package {error.name} is missing where procq is installed. `pip install '{extra}'` there, and "
        "restart procq"
    )


def _http(signal: Signal, endpoint: Endpoint | None) -> Any:
    from opentelemetry.exporter.otlp.proto.http import Compression

    built = _class(f"opentelemetry.exporter.otlp.proto.http.{_MODULES[signal]}", signal)
    if endpoint is None:
        return transport.built(built, transport.light(signal, os.environ))
    return built(
        endpoint=endpoint.url,
        timeout=endpoint.timeout,
        compression=Compression(str(endpoint.compression)),
        session=_session(endpoint),
    )


def _session(endpoint: Endpoint) -> Session:
    """Sends with the headers, the login and the certificates of the endpoint and no others. Proxies are as they are."""
    from requests import Session
    from requests.utils import get_auth_from_url

    for path in (endpoint.ca, endpoint.key, endpoint.cert):
        _content(path)
    cert = (endpoint.cert, endpoint.key) if endpoint.cert and endpoint.key else None

    class Own(Session):
        def prepare_request(self, request: Request) -> PreparedRequest:
            kept = {header: value for header, value in request.headers.items() if header.lower() in _OF_THE_BODY}
            request.headers = {**kept, **endpoint.headers}
            login = get_auth_from_url(endpoint.url)
            # Where none is given, requests would look for one in .netrc, and put it in the place of the header.
            request.auth = login if any(login) and "authorization" not in endpoint.headers else _as_it_is
            return super().prepare_request(request)

        def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, *_: Any) -> Any:
            # What the exporter has set came from the variables, and REQUESTS_CA_BUNDLE would go before it.
            self.verify, self.cert = True, None
            return super().merge_environment_settings(url, proxies, stream, endpoint.ca, cert)

    return Own()


def _as_it_is(prepared: PreparedRequest) -> PreparedRequest:
    return prepared


class _Headers(dict[str, str]):
    """Counts as given where it is empty too: else the exporter looks for others in the variables."""

    def __bool__(self) -> bool:
        return True


def _grpc(signal: Signal, endpoint: Endpoint | None) -> Any:
    from grpc import Compression, ssl_channel_credentials

    built = _class(f"opentelemetry.exporter.otlp.proto.grpc.{_MODULES[signal]}", signal)
    if endpoint is None:
        return built()
    scheme = urlsplit(endpoint.url).scheme if "://" in endpoint.url else ""
    insecure = endpoint.insecure if scheme not in ("http", "https") else scheme == "http"
    return built(
        endpoint=endpoint.url,
        insecure=insecure,
        credentials=None
        if insecure
        else ssl_channel_credentials(_content(endpoint.ca), _content(endpoint.key), _content(endpoint.cert)),
        headers=_Headers(endpoint.headers),
        timeout=endpoint.timeout,
        compression={"none": Compression.NoCompression, "gzip": Compression.Gzip}[endpoint.compression],
    )


def _class(module: str, signal: Signal) -> Any:
    found = getattr(import_module(module), _CLASSES[signal])
    # Some leave out what looks like the message before it, of whatever exporter: it has to be heard for each.
    for name in (module, f"{module.rpartition('.')[0]}.exporter"):
        logger = logging.getLogger(name)
        for each in list(logger.filters):
            logger.removeFilter(each)
    return found


def _content(path: str | None) -> bytes | None:
    """What a file of certificates holds. Raises CannotBuild."""
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CannotBuild(f"{path} cannot be read: {error.strerror}") from error
