"""Telemetry that a configuration file of OpenTelemetry asks for, as receivers decode it."""

from __future__ import annotations

from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.waiting import throughout, until
from tests.process.test_otlp import SLEEPERS, names, told, trace_of
from tests.servers.listening import unused
from tests.servers.otlp import receiving
from tests.servers.otlp_grpc import receiving_by_grpc

pytestmark = pytest.mark.process

SECRET: Final = "hunter2-of-a-header"
TWO_RECEIVERS: Final = """\
file_format: "1.0"
resource:
  attributes_list: ${OTEL_RESOURCE_ATTRIBUTES}
  attributes:
    - name: service.name
      value: ${OTEL_SERVICE_NAME:-procq of the file}
tracer_provider:
  limits: {link_count_limit: 1}
  processors:
    - batch: &often
        schedule_delay: 50
        exporter:
          otlp_http: &one
            endpoint: ${ONE}/v1/traces
            headers: [{name: api-key, value: "${KEY}"}]
            compression: gzip
    - batch: {schedule_delay: 50, exporter: {otlp_grpc: {endpoint: "${TWO}"}}}
logger_provider:
  processors:
    - batch: {<<: *often, exporter: {otlp_http: {<<: *one, endpoint: "${ONE}/v1/logs"}}}
meter_provider:
  readers:
    - periodic: {interval: 100, exporter: {otlp_http: {<<: *one, endpoint: "${ONE}/v1/metrics"}}}
    - periodic: {interval: 300000, exporter: {otlp_grpc: {endpoint: "${TWO}"}}}
    - pull:
        exporter:
          prometheus/development:
            host: 127.0.0.1
            port: ${PORT}
"""
_DESCRIPTORS: Final = 16
"""What exporters keep open for six connections, and the listener of a page."""


def configured(procqs: Procqs, manifest: str, text: str, **variables: str) -> Procq:
    procq = procqs(manifest)
    (procq.folder / "otel.yaml").write_text(text)
    # Relative to where procq is started.
    procq.environment |= {"OTEL_CONFIG_FILE": "otel.yaml", **variables}
    return procq


def started(procq: Procq, workers: int) -> Procq:
    procq.start(workers)
    assert procq.baseline is not None
    procq.baseline = replace(procq.baseline, control_plane=procq.baseline.control_plane + _DESCRIPTORS)
    return procq


def test_several_receivers_and_a_page_as_the_file_has_it(procqs: Procqs) -> None:
    port = unused()
    with receiving() as one, receiving_by_grpc() as two, receiving() as elsewhere:
        ignored = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": elsewhere.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "theirs=secret",
            "OTEL_SDK_DISABLED": "true",
            "OTEL_METRICS_EXPORTER": "prometheus",
            "OTEL_RESOURCE_ATTRIBUTES": "team=mail",
        }
        named = {"ONE": one.url, "TWO": two.url, "KEY": SECRET, "PORT": str(port)}
        procq = configured(procqs, SLEEPERS.format(workers=1), TWO_RECEIVERS, **named, **ignored)
        started(procq, 1)
        for receiver in (one, two):
            until(lambda receiver=receiver: names(receiver.spans())["worker.start"] == 1, "the start")  # type: ignore[misc]
        procq.save(SLEEPERS.format(workers=3))
        for receiver in (one, two):
            until(
                lambda receiver=receiver: names(trace_of(receiver, "procq.reload"))["worker.start"] == 2,  # type: ignore[misc]
                "the save",
            )
        until(lambda: told(one, "procq.started"), "the log")
        until(lambda: len(one.metrics) > 2, "numbers, again and again")
        assert not two.logs and not two.metrics, "the log goes to one, and the interval of the other is long"
        resource = one.resource()
        assert (resource["service.name"], resource["team"]) == ("procq of the file", "mail")
        assert {headers["api-key"] for headers in one.headers} == {SECRET}
        assert {headers["content-encoding"] for headers in one.headers} == {"gzip"}
        for headers in (*one.headers, *two.headers):
            assert "theirs" not in headers
        assert all("api-key" not in headers for headers in two.headers)
        assert 'procq_queue_workers{queue="emails",state="running"} 3' in page(port)
        environment = psutil.Process(procq.workers()["emails.1"].pid).environ()
        assert environment["OTEL_CONFIG_FILE"] == "otel.yaml"
        assert environment["OTEL_SERVICE_NAME"] == "emails", "their file may refer to it"
        procq.command("down")
        assert len(two.metrics) == 1, "the last reading goes to all"
    assert elsewhere.asked == 0
    assert procq.said().count("telemetry") == 1
    assert "procq: telemetry: of otel.yaml (OTEL_CONFIG_FILE) procq does not use tracer_provider.limits (line 8)" in (
        procq.said().splitlines()
    )
    sent = str([one.traces, one.metrics, one.logs, two.traces])
    assert SECRET not in sent + procq.said()


def page(port: int) -> str:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    try:
        return connection.getresponse().read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "cannot be read: No such file or directory; take the variable out, or mend this"),
        (f"file_format: [{SECRET}\n", "line 2: this is not YAML"),
        (
            TWO_RECEIVERS.replace("headers: [", f"headres: {SECRET} # ["),
            "line 15: `tracer_provider.processors[0].batch.exporter.otlp_http.headres` is not known here: did you mean "
            "`headers`?",
        ),
    ],
)
def test_a_file_that_is_wrong_is_told_and_harms_nobody(procqs: Procqs, text: str | None, why: str) -> None:
    with receiving() as receiver:
        procq = configured(
            procqs, SLEEPERS.format(workers=1), text or "", ONE=receiver.url, TWO=receiver.url, PORT=str(unused())
        )
        if text is None:
            (procq.folder / "otel.yaml").unlink()
        started(procq, 1)
        expected = f"procq: telemetry is off: otel.yaml (OTEL_CONFIG_FILE), {why}"
        until(lambda: expected in procq.said().splitlines(), procq.said)
        procq.save(SLEEPERS.format(workers=2))
        procq.wait_running(2)
        throughout(0.3, lambda: procq.said().count("telemetry") == 1, "silence")
        assert SECRET not in procq.said() + procq.command("events")
    assert receiver.asked == 0


@pytest.mark.parametrize(
    ("given", "instead", "why"),
    [
        (
            'endpoint: "${TWO}"',
            'endpoint: "[::1:4317"',
            "telemetry is off: otel.yaml (OTEL_CONFIG_FILE), line 17: "
            "`tracer_provider.processors[1].batch.exporter.otlp_grpc.endpoint` is no address",
        ),
        ("host: 127.0.0.1", "host: foo..bar", "metrics are not served: 'foo..bar' is no name and no address of a host"),
    ],
)
def test_a_place_that_is_none_is_told_and_ends_no_control_plane(
    procqs: Procqs, given: str, instead: str, why: str
) -> None:
    with receiving() as one, receiving_by_grpc() as two:
        text = TWO_RECEIVERS.replace(given, instead)
        assert text != TWO_RECEIVERS
        procq = configured(procqs, SLEEPERS.format(workers=1), text, ONE=one.url, TWO=two.url, PORT=str(unused()))
        started(procq, 1)
        until(lambda: why in procq.said(), procq.said)
        before = procq.control_plane()
        procq.save(SLEEPERS.format(workers=2))
        procq.wait_running(2)
        throughout(0.3, lambda: procq.said().count(why) == 1, "silence")
        assert procq.control_plane() == before
        assert "Traceback" not in procq.said()


def test_nothing_is_loaded_where_the_file_disables_it(procqs: Procqs) -> None:
    def loaded(procq: Procq) -> bool:
        return any("google/_upb" in each.path for each in psutil.Process(procq.control_plane()).memory_maps())

    with receiving() as receiver:
        text = TWO_RECEIVERS + "disabled: ${OFF}\n"
        named = {"ONE": receiver.url, "TWO": receiver.url}
        on = configured(procqs, SLEEPERS.format(workers=1), text, **named, PORT=str(unused()))
        started(on, 1)
        until(receiver.spans, "telemetry to be on")
        assert loaded(on)
        off = configured(procqs, SLEEPERS.format(workers=1), text, **named, PORT=str(unused()), OFF="true")
        started(off, 1)
        # The control plane looks at its file as soon as everything runs, and the other one has shown how soon it is on.
        throughout(1.0, lambda: not loaded(off), "peace")


def test_a_page_needs_no_library(procqs: Procqs, tmp_path: Path) -> None:
    port = unused()
    (tmp_path / "opentelemetry.py").write_text("raise ImportError('No module', name='opentelemetry')\n")
    readers = "[{pull: {exporter: {prometheus/development: {port: %d}}}}]"
    text = f'file_format: "1.0"\nmeter_provider: {{readers: {readers}}}\n'
    procq = configured(procqs, SLEEPERS.format(workers=1), text % port, PYTHONPATH=str(tmp_path))
    started(procq, 1)

    def served() -> bool:
        try:
            return 'procq_queue_workers{queue="emails",state="running"} 1' in page(port)
        except OSError:
            return False

    until(served, "the page")
    assert "telemetry" not in procq.said()
