"""A receiver of OTLP over gRPC, with the means that its makers give: takes what the one over HTTP takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.servers.otlp import Receiver

_STATUSES: Final = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}
_SERVICES: Final[tuple[tuple[Any, str, Callable[[], Any]], ...]] = (
    (traces.add_TraceServiceServicer_to_server, "/v1/traces", ExportTraceServiceResponse),
    (metrics.add_MetricsServiceServicer_to_server, "/v1/metrics", ExportMetricsServiceResponse),
    (logs.add_LogsServiceServicer_to_server, "/v1/logs", ExportLogsServiceResponse),
)
_HANDLERS: Final = 64
"""Requests at a time. Those that hang here are given up by who sent them, and stay until the receiver is opened."""


@contextmanager
def receiving_by_grpc(port: int = 0, tls: tuple[bytes, bytes] | None = None) -> Iterator[Receiver]:
    """Runs one on a port of this machine; with `tls`, a key and a certificate, for who has that certificate too."""
    receiver = Receiver()
    pool = ThreadPoolExecutor(_HANDLERS)
    # Ports are not shared: a test that takes one wants to be the only one there.
    server = grpc.server(pool, options=(("grpc.so_reuseport", 0),))
    for add, path, response in _SERVICES:
        add(_service(receiver, path, response), server)
    address = f"127.0.0.1:{port}"
    if tls is None:
        bound = server.add_insecure_port(address)
    else:
        bound = server.add_secure_port(address, grpc.ssl_server_credentials([tls], tls[1], require_client_auth=True))
    receiver.url = f"http{'s' * (tls is not None)}://localhost:{bound}"
    server.start()
    try:
        yield receiver
    finally:
        receiver.open.set()
        server.stop(0).wait()
        pool.shutdown()


def _service(receiver: Receiver, path: str, response: Callable[[], Any]) -> Any:
    class Service:
        def Export(self, request: Any, context: grpc.ServicerContext) -> Any:
            receiver.headers.append(dict(context.invocation_metadata()))
            status = receiver.take(path, request.SerializeToString())
            if status != 200:
                context.abort(_STATUSES[status], "as the test wants it")
            return response()

    return Service()
