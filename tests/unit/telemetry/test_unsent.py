"""What to do where output has no receiver: whatever is advised has the effect."""

from __future__ import annotations

import pytest

from procq.telemetry.config import Signal, read
from procq.telemetry.unsent import remedy

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}
SET_IT = "set OTEL_EXPORTER_OTLP_ENDPOINT, as in http://localhost:4318"


@pytest.mark.parametrize(
    ("environ", "advised"),
    [
        ({}, SET_IT),
        ({"OTEL_TRACES_EXPORTER": "console"}, SET_IT),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318"}, SET_IT),
        (ENDPOINT | {"OTEL_LOGS_EXPORTER": "none"}, "take OTEL_LOGS_EXPORTER out, or set it to otlp"),
        (ENDPOINT | {"OTEL_LOGS_EXPORTER": "zipkin"}, "take OTEL_LOGS_EXPORTER out, or set it to otlp"),
        ({"OTEL_LOGS_EXPORTER": "none"}, f"take OTEL_LOGS_EXPORTER out, or set it to otlp; {SET_IT}"),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, "take OTEL_SDK_DISABLED out"),
        (
            ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "set OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf or grpc",
        ),
        (
            ENDPOINT | {"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "json", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "set OTEL_EXPORTER_OTLP_LOGS_PROTOCOL to http/protobuf or grpc",
        ),
    ],
)
def test_by_variables(environ: dict[str, str], advised: str) -> None:
    assert Signal.LOGS not in read(environ).ways
    assert remedy(environ) == f"{advised} in the environment of `procq up`"


def test_by_a_file_variables_have_no_effect() -> None:
    environ = ENDPOINT | {"OTEL_CONFIG_FILE": "/etc/otel.yaml"}
    assert (
        remedy(environ) == "add a `logger_provider` to /etc/otel.yaml (OTEL_CONFIG_FILE), which must not be `disabled`"
    )
