"""Exporters as they are built, to receivers that are real: what is sent, with what, and what is left out."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from procq.telemetry.config import NEWEST, Batching, Compression, Endpoint, Means, Signal, Way
from procq.telemetry.exporters import CannotBuild, exporter
from procq.telemetry.family import Family, Kind, Point
from procq.telemetry.logs import Record, Severity
from procq.telemetry.otlp import BUILD, Answers, Reading, Words
from procq.telemetry.spans import Context, Span
from tests.servers.listening import unused
from tests.servers.otlp import Receiver, attributes, receiving
from tests.servers.otlp_grpc import receiving_by_grpc

SENT: dict[Signal, Any] = {
    Signal.TRACES: Span("procq.plan", Context(1, 2), None, 1.0, 2.0),
    Signal.LOGS: Record(1.0, "exited", Severity.WARN, "it exited", {}),
    Signal.METRICS: Reading([Family("procq.n", Kind.COUNTER, "{n}", "n", (Point((), 7),))], 2.0),
}
ELSEWHERE = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    "OTEL_EXPORTER_OTLP_HEADERS": "api-key=hunter2",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "other=hunter2",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
    "OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere/ca.pem",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/nowhere/key.pem",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/nowhere/cert.pem",
    "OTEL_EXPORTER_OTLP_INSECURE": "false",
}
RECEIVERS: dict[Means, Callable[[], AbstractContextManager[Receiver]]] = {
    Means.HTTP: receiving,
    Means.GRPC: receiving_by_grpc,
}


@pytest.fixture(params=RECEIVERS)
def means(request: pytest.FixtureRequest) -> Means:
    return Means(request.param)


@pytest.fixture
def receiver(means: Means) -> Iterator[Receiver]:
    with RECEIVERS[means]() as receiver:
        yield receiver


def words() -> Words:
    return Words.of({"service.name": "procq", "names": ("a", "b")}, "1", 0.0, 0.0)


def send(signal: Signal, means: Means, endpoint: Endpoint | None) -> bool:
    out = exporter(signal, Way(means, NEWEST if signal is Signal.METRICS else Batching(0.0), endpoint))
    try:
        return BUILD[signal](out, words())([SENT[signal]])
    finally:
        out.shutdown()


def url(receiver: Receiver, means: Means, signal: Signal) -> str:
    return f"{receiver.url}/v1/{signal}" if means is Means.HTTP else receiver.url


def test_all_three_arrive_as_a_file_has_it(means: Means, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ELSEWHERE.items():
        monkeypatch.setenv(name, value)
    for signal in Signal:
        assert send(signal, means, Endpoint(url(receiver, means, signal), {"team": "mail"}))
    (span,), (record,) = receiver.spans(), receiver.records()
    assert (span.name, record.body.string_value) == ("procq.plan", "it exited")
    assert receiver.newest("procq.n")[0].as_int == 7
    assert receiver.resource()["service.name"] == "procq"
    names = next(each for each in receiver.traces[0].resource_spans[0].resource.attributes if each.key == "names")
    assert [each.string_value for each in names.value.array_value.values] == ["a", "b"]
    assert attributes(record) == {}
    for headers in receiver.headers:
        assert headers["team"] == "mail"
        assert "hunter2" not in str(headers)
        assert "gzip" not in (headers.get("content-encoding"), headers.get("grpc-encoding"))


def test_without_a_file_the_variables_say_it(means: Means, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=in%20the%20variable")
    assert send(Signal.TRACES, means, None)
    assert receiver.headers[0]["api-key"] == "in the variable"


def test_no_headers_are_none(means: Means, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter2")
    assert send(Signal.LOGS, means, Endpoint(url(receiver, means, Signal.LOGS)))
    assert "api-key" not in receiver.headers[0]


FILE = {"authorization": "Bearer of the file"}


@pytest.mark.parametrize(
    ("user", "headers", "sent"),
    [
        ("", FILE, "Bearer of the file"),
        ("", {}, None),
        ("u:p@", {}, "Basic dTpw"),
        ("u:p@", FILE, "Bearer of the file"),
    ],
)
def test_nobody_logs_in_but_who_the_file_names(
    netrc: None, user: str, headers: dict[str, str], sent: str | None
) -> None:
    with receiving() as receiver:
        address = url(receiver, Means.HTTP, Signal.TRACES).replace("://", f"://{user}")
        assert send(Signal.TRACES, Means.HTTP, Endpoint(address, headers))
        assert receiver.headers[0].get("authorization") == sent


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has a login for all receivers of these tests."""
    logins = tmp_path / "netrc"
    logins.write_text("machine 127.0.0.1 login somebody password hunter2\n")
    logins.chmod(0o600)
    monkeypatch.setenv("NETRC", str(logins))


def test_what_is_sent_may_be_compressed(receiver: Receiver, means: Means) -> None:
    assert send(Signal.TRACES, means, Endpoint(url(receiver, means, Signal.TRACES), compression=Compression.GZIP))
    assert receiver.spans()
    if means is Means.HTTP:
        assert receiver.headers[0]["content-encoding"] == "gzip"


def test_why_nothing_arrives_is_known(means: Means, receiver: Receiver) -> None:
    answers = Answers()
    receiver.answers = 401
    assert not send(Signal.TRACES, means, Endpoint(url(receiver, means, Signal.TRACES)))
    assert answers.about() == f"it answers with status {401 if means is Means.HTTP else 'UNAUTHENTICATED'}"
    nobody = f"http://127.0.0.1:{unused()}"
    assert not send(Signal.LOGS, means, Endpoint(nobody, timeout=0.3))
    assert answers.about() == "it does not answer"


def certificate(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate of localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    key, cert = folder / "key.pem", folder / "cert.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    more = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*make, *more], check=True, capture_output=True)
    return key, cert


@contextmanager
def receiving_by_tls(key: Path, cert: Path) -> Iterator[Receiver]:
    """Over HTTPS, for who has the certificate too."""
    receiver = Receiver()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    tls.load_verify_locations(cert)
    tls.verify_mode = ssl.CERT_REQUIRED

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = receiver.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def finish_request(self, request: Any, client_address: Any) -> None:
            with suppress(ssl.SSLError), tls.wrap_socket(request, server_side=True) as wrapped:
                super().finish_request(wrapped, client_address)

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"https://localhost:{server.server_port}"
        thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
        thread.start()
        yield receiver
        server.shutdown()
        thread.join()


def test_certificates_of_a_file_are_used(means: Means, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, cert = certificate(tmp_path)
    bytes_of = (key.read_bytes(), cert.read_bytes())
    with receiving_by_tls(key, cert) if means is Means.HTTP else receiving_by_grpc(tls=bytes_of) as receiver:
        address = url(receiver, means, Signal.TRACES)
        full = Endpoint(address, timeout=5.0, ca=str(cert), key=str(key), cert=str(cert))
        for wrong in (replace(full, ca=None), replace(full, key=None, cert=None)):
            # What variables say is for another receiver.
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(cert))
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", str(key))
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", str(cert))
            assert not send(Signal.TRACES, means, replace(wrong, timeout=0.3))
        assert receiver.spans() == []
        assert send(Signal.TRACES, means, full)
        assert len(receiver.spans()) == 1
        if means is Means.GRPC:
            bare = replace(full, url=receiver.url.removeprefix("https://"))
            assert send(Signal.TRACES, means, bare)
            assert not send(Signal.TRACES, means, replace(bare, timeout=0.3, insecure=True))


def test_a_certificate_that_cannot_be_read_is_told(means: Means) -> None:
    endpoint = Endpoint("https://localhost", ca="/nowhere/ca.pem")
    with pytest.raises(CannotBuild, match=r"^/nowhere/ca\.pem cannot be read: No such file or directory$"):
        exporter(Signal.TRACES, Way(means, NEWEST, endpoint))


def test_a_package_that_is_missing_is_told(means: Means, monkeypatch: pytest.MonkeyPatch) -> None:
    package = {Means.HTTP: "opentelemetry.exporter.otlp.proto.http", Means.GRPC: "grpc"}[means]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(CannotBuild) as caught:
        exporter(Signal.TRACES, Way(means, NEWEST))
    extra = {Means.HTTP: "otlp", Means.GRPC: "otlp-grpc"}[means]
    assert str(caught.value) == (
        f"the Python package {package} is missing where procq is installed. `pip install 'procq[{extra}]'` there, and "
        "restart procq"
    )
