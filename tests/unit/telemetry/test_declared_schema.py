"""Configuration by file, held against the schema of OpenTelemetry, as its library for Python has it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from procq.telemetry.declared import MAJOR, MINOR, declared


def kinds() -> dict[str, Any]:
    text = (files("opentelemetry.configuration") / "schema.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)["$defs"]
    return found


EXPORTER = "{processors: [{batch: {exporter: %s}}]}"
READER = "{readers: [{periodic: {exporter: %s}}]}"


@pytest.mark.parametrize(
    ("kind", "owner", "place"),
    [
        ("TracerProvider", "tracer_provider", "*it"),
        ("BatchSpanProcessor", "tracer_provider", "{processors: [{batch: *it}]}"),
        ("SimpleSpanProcessor", "tracer_provider", "{processors: [{simple: *it}]}"),
        ("OtlpHttpExporter", "tracer_provider", EXPORTER % "{otlp_http: *it}"),
        ("HttpTls", "tracer_provider", EXPORTER % "{otlp_http: {tls: *it}}"),
        ("OtlpGrpcExporter", "tracer_provider", EXPORTER % "{otlp_grpc: *it}"),
        ("GrpcTls", "tracer_provider", EXPORTER % "{otlp_grpc: {tls: *it}}"),
        ("NameStringValuePair", "tracer_provider", EXPORTER % "{otlp_http: {headers: [*it]}}"),
        ("LoggerProvider", "logger_provider", "*it"),
        ("BatchLogRecordProcessor", "logger_provider", "{processors: [{batch: *it}]}"),
        ("MeterProvider", "meter_provider", "*it"),
        ("PeriodicMetricReader", "meter_provider", "{readers: [{periodic: *it}]}"),
        ("OtlpHttpMetricExporter", "meter_provider", READER % "{otlp_http: *it}"),
        ("OtlpGrpcMetricExporter", "meter_provider", READER % "{otlp_grpc: *it}"),
        ("ConsoleMetricExporter", "meter_provider", READER % "{console: *it}"),
        ("PullMetricReader", "meter_provider", "{readers: [{pull: *it}]}"),
        (
            "ExperimentalPrometheusMetricExporter",
            "meter_provider",
            "{readers: [{pull: {exporter: {prometheus/development: *it}}}]}",
        ),
        ("Resource", "resource", "*it"),
        ("AttributeNameValue", "resource", "{attributes: [*it]}"),
    ],
)
def test_every_key_is_known(kind: str, owner: str, place: str) -> None:
    names = list(kinds()[kind]["properties"])
    given = ", ".join(f'"{name}": ' for name in [*names, "wrong"])
    text = f'file_format: "{MAJOR}.{MINOR}"\nx-it:\n  &it {{{given}}}\n{owner}: {place}\n'
    told = " ".join(declared(text, "otel.yaml", {}).troubles)
    # The first that is wrong in a line is told: that one, if all before it are known.
    assert "wrong` is not known here" in told, told


def test_defaults_are_the_same() -> None:
    found = kinds()
    for kind, delay in (("BatchSpanProcessor", 5_000), ("BatchLogRecordProcessor", 1_000)):
        said = {name: each.get("description", "") for name, each in found[kind]["properties"].items()}
        assert f"{delay} is used" in said["schedule_delay"]
        assert "30000 is used" in said["export_timeout"]
        assert "2048 is used" in said["max_queue_size"]
        assert "512 is used" in said["max_export_batch_size"]
    for kind, endpoint in (
        ("OtlpHttpExporter", "http://localhost:4318/v1/{signal} "),
        ("OtlpGrpcExporter", "http://localhost:4317 "),
    ):
        assert endpoint in found[kind]["properties"]["endpoint"]["description"]
        assert "10000 is used" in found[kind]["properties"]["timeout"]["description"]
    assert "60000 is used" in found["PeriodicMetricReader"]["properties"]["interval"]["description"]
    page = found["ExperimentalPrometheusMetricExporter"]["properties"]
    assert "localhost is used" in page["host"]["description"]
    assert "9464 is used" in page["port"]["description"]
