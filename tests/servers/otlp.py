"""A receiver of OTLP over HTTP: decodes what it is sent, and can be made to refuse, to hang and to fail."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_OPENED: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "deflate": zlib.decompress, "": bytes}


class Receiver:
    """What has arrived, as messages of OTLP. Where `answers` is not 200 nothing is taken."""

    def __init__(self) -> None:
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.logs: list[ExportLogsServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.asked = 0
        self.answers = 200
        self.open = threading.Event()
        """Cleared, requests are read and not answered; in the end, where `forgetful`, none of those is taken."""
        self.open.set()
        self.forgetful = False
        self.listens = False
        self.url = ""

    def take(self, path: str, body: bytes) -> int:
        """The status for a request; 404 where nothing is received at its path."""
        self.asked += 1
        if not self.open.is_set():
            self.open.wait()
            if self.forgetful:
                return 503
        if self.answers != 200:
            return self.answers
        kept: Any
        match path:
            case "/v1/traces":
                kept, message = self.traces, ExportTraceServiceRequest.FromString(body)
            case "/v1/metrics":
                kept, message = self.metrics, ExportMetricsServiceRequest.FromString(body)
            case "/v1/logs":
                kept, message = self.logs, ExportLogsServiceRequest.FromString(body)
            case _:
                return 404
        kept.append(message)
        return 200

    def spans(self) -> list[Any]:
        return [s for m in self.traces for r in m.resource_spans for scope in r.scope_spans for s in scope.spans]

    def records(self) -> list[Any]:
        return [s for m in self.logs for r in m.resource_logs for scope in r.scope_logs for s in scope.log_records]

    def newest(self, name: str) -> list[Any]:
        """The points of a metric as they were sent last."""
        for message in reversed(self.metrics):
            for metric in (m for r in message.resource_metrics for scope in r.scope_metrics for m in scope.metrics):
                if metric.name == name:
                    return list(getattr(metric, metric.WhichOneof("data")).data_points)
        return []

    def every(self, name: str) -> list[Any]:
        """All points of a metric that were ever sent."""
        found = [m for each in self.metrics for r in each.resource_metrics for s in r.scope_metrics for m in s.metrics]
        return [p for m in found if m.name == name for p in getattr(m, m.WhichOneof("data")).data_points]

    def resource(self) -> dict[str, Any]:
        return attributes(self.traces[0].resource_spans[0].resource)


def attributes(owner: Any) -> dict[str, Any]:
    """Of a span, a record, a point or a resource."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in owner.attributes}


@contextmanager
def receiving(port: int = 0, again: Receiver | None = None) -> Iterator[Receiver]:
    """Runs one on a port of this machine, also one that has run before; `url` is for OTEL_EXPORTER_OTLP_ENDPOINT."""
    receiver = again or Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not receiver.listens:
                # A connection of before: nobody is here any more.
                self.close_connection = True
                return
            receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
            status = receiver.take(self.path, _OPENED[self.headers.get("Content-Encoding", "")](body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # whoever waited has gone

    with Server(("127.0.0.1", port), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        receiver.listens = True
        thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.listens = False
            receiver.open.set()
            server.shutdown()
            thread.join()
