"""What is sent by HTTP needs no requests, unless something is asked for that only requests does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from procq.telemetry.config import Means, Signal
from procq.telemetry.transport import built, light
from tests.servers.otlp import receiving
from tests.unit.telemetry.test_exporters import certificate, receiving_by_tls, send

URL = "http://collector:4318"
PLAIN = {"OTEL_EXPORTER_OTLP_ENDPOINT": URL}
SENDS = """
import sys
from procq.telemetry.config import NEWEST, Means, Signal, Way
from procq.telemetry.exporters import exporter
from procq.telemetry.family import Family, Kind, Point
from procq.telemetry.logs import Record, Severity
from procq.telemetry.otlp import BUILD, Reading, Words
from procq.telemetry.spans import Context, Span
words = Words.of({"service.name": "procq"}, "1", 0.0, 0.0)
what = {
    Signal.TRACES: [Span("procq.plan", Context(1, 2), None, 1.0, 2.0)],
    Signal.LOGS: [Record(1.0, "exited", Severity.WARN, "it exited", {})],
    Signal.METRICS: [Reading([Family("n", Kind.COUNTER, "{n}", "n", tuple(Point((), n) for n in range(1_234)))], 2.0)],
}
print([BUILD[signal](exporter(signal, Way(Means.HTTP, NEWEST)), words)(batch) for signal, batch in what.items()])
print(sorted({module.partition(".")[0] for module in sys.modules} & {"requests", "urllib3"}))
"""


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy, no home with logins."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_all_three_are_sent_without_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where another version of the SDK has to be given the transport in another way, or needs both."""
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=in%20the%20variable")
        done = subprocess.run([sys.executable, "-c", SENDS], capture_output=True, text=True, check=False)
    assert done.stdout == "[True, True, True]\n['urllib3']\n", done.stderr
    (span,), (record,) = receiver.spans(), receiver.records()
    assert (span.name, record.body.string_value) == ("procq.plan", "it exited")
    assert {headers["api-key"] for headers in receiver.headers} == {"in the variable"}
    assert [str(message).count("data_points {") for message in receiver.metrics] == [500, 500, 234]


def test_a_message_that_is_not_taken_is_the_last_of_its_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        receiver.answers = 500
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        done = subprocess.run([sys.executable, "-c", SENDS], capture_output=True, text=True, check=False)
        assert "[False, False, False]" in done.stdout, done.stderr
        assert receiver.asked == 3


@pytest.mark.parametrize(
    "more",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:secret@collector:4318"},
        {"OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER": "gcp"},
        {"OTEL_PYTHON_EXPORTER_OTLP_HTTP_LOGS_CREDENTIAL_PROVIDER": "gcp"},
        {"NETRC": __file__},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector", "REQUESTS_CA_BUNDLE": "/etc/ssl/certs"},
    ],
    ids=str,
)
def test_what_only_requests_does_is_left_to_it(more: dict[str, str]) -> None:
    assert light(Signal.LOGS, PLAIN)
    assert light(Signal.LOGS, {**PLAIN, **more}) == {}


def test_a_proxy_and_a_file_of_logins_are_left_to_requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").touch()
    assert light(Signal.TRACES, PLAIN) == {}
    (tmp_path / ".netrc").unlink()
    assert light(Signal.TRACES, PLAIN)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    assert light(Signal.TRACES, PLAIN) == {}


def test_certificates_are_those_of_the_signal_before_those_of_all() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": __file__,
        "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE": sys.executable,
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "cert.pem",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": "key.pem",
    }
    for signal, authority in ((Signal.TRACES, __file__), (Signal.LOGS, sys.executable)):
        pool = light(signal, environ)["_transport"]._pool.connection_pool_kw
        assert pool["cert_reqs"] == "CERT_REQUIRED"
        assert (pool["ca_certs"], pool["cert_file"], pool["key_file"]) == (authority, "cert.pem", "key.pem")


def test_certificates_that_variables_name_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key, cert = certificate(tmp_path)
    ours = {"CERTIFICATE": cert, "CLIENT_KEY": key, "CLIENT_CERTIFICATE": cert}
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with receiving_by_tls(key, cert) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        for name, path in ours.items():
            # One of them at least is missing each time.
            assert not send(Signal.TRACES, Means.HTTP, None), name
            monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", str(path))
        assert send(Signal.TRACES, Means.HTTP, None)
        assert len(receiver.spans()) == 1


def test_an_exporter_that_does_not_take_a_transport_is_built_without() -> None:
    def other(endpoint: str | None = None) -> Any:
        return "built", endpoint

    assert built(other, {"_transport": object()}) == ("built", None)
