"""The standard variables."""

from __future__ import annotations

import pytest

from procq.telemetry.config import Batching, Exporter, Signal, read, wanted
from procq.telemetry.offer import offered

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}


def signals(environ: dict[str, str]) -> dict[str, list[str]]:
    return {str(signal): [str(each) for each in how] for signal, how in read(environ).exporters.items()}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "shop", "OTEL_RESOURCE_ATTRIBUTES": "a=b"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_TRACES_EXPORTER": ""},
    ],
)
def test_nothing_is_sent_where_nothing_asks_for_it(environ: dict[str, str]) -> None:
    assert not wanted(environ)
    assert not read(environ).on


@pytest.mark.parametrize(
    "environ",
    [
        {**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_METRICS_EXPORTER": "prometheus"},
        {
            **ENDPOINT,
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "None",
            "OTEL_LOGS_EXPORTER": " none ",
        },
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "  "},
    ],
)
def test_nothing_is_sent_where_it_is_asked_not_to(environ: dict[str, str]) -> None:
    assert not read(environ).on


def test_an_endpoint_is_for_all_or_for_one() -> None:
    assert wanted(ENDPOINT)
    assert signals(ENDPOINT) == {"traces": ["otlp"], "metrics": ["otlp"], "logs": ["otlp"]}
    assert signals({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://here"}) == {"logs": ["otlp"]}


def test_exporters_are_chosen_by_name() -> None:
    assert signals({"OTEL_TRACES_EXPORTER": "console"}) == {"traces": ["console"]}
    assert signals({"OTEL_TRACES_EXPORTER": "otlp,console, otlp"}) == {"traces": ["otlp", "console"]}
    assert signals({**ENDPOINT, "OTEL_METRICS_EXPORTER": "none"}) == {"traces": ["otlp"], "logs": ["otlp"]}


def test_what_procq_has_not_is_told() -> None:
    config = read({**ENDPOINT, "OTEL_METRICS_EXPORTER": "statsd"})
    assert Signal.METRICS not in config.exporters
    assert config.exporters[Signal.TRACES] == (Exporter.OTLP,)
    (told,) = config.troubles
    assert told == "OTEL_METRICS_EXPORTER asks for 'statsd', which procq has not: otlp, console or none"


def test_another_protocol_is_told_and_not_guessed() -> None:
    config = read({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_LOGS_EXPORTER": "none"})
    assert config.exporters == {}
    assert config.on, "there is something to tell"
    assert [told.split(":")[0] for told in config.troubles] == ["OTEL_EXPORTER_OTLP_PROTOCOL asks for 'grpc'"] * 2
    own = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
    assert set(read({**ENDPOINT, **own}).exporters) == {Signal.TRACES}


def test_numbers_are_milliseconds_and_counts() -> None:
    given = {
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_BSP_MAX_QUEUE_SIZE": "100",
        "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "10",
        "OTEL_METRIC_EXPORT_INTERVAL": "1500",
    }
    config = read({**ENDPOINT, **given})
    assert config.spans == Batching(0.2, 100, 100), "a batch is no more than the queue"
    assert config.logs == Batching(1.0, 2_048, 10)
    assert config.interval == 1.5
    assert config.troubles == ()


@pytest.mark.parametrize("text", ["0", "-1", "soon", "1e3", "999999999999", "\u0663"])
def test_numbers_that_are_none_are_told(text: str) -> None:
    config = read({**ENDPOINT, "OTEL_METRIC_EXPORT_INTERVAL": text})
    assert config.interval == 60.0
    assert "60000 is used" in config.troubles[0]


def words(environ: dict[str, str], queue: str = "emails", project: str = "my shop") -> dict[str, str]:
    found = offered({name.encode(): value.encode() for name, value in environ.items()}, queue, project)
    return {name.decode(): value.decode() for name, value in found.items()}


def test_workers_are_offered_a_name_where_telemetry_is_asked_for() -> None:
    assert words({"PATH": "/bin", "OTEL_RESOURCE_ATTRIBUTES": "a=b"}) == {}
    place = "procq.project=my%20shop,procq.queue=emails"
    assert words(ENDPOINT) == {"OTEL_SERVICE_NAME": "emails", "OTEL_RESOURCE_ATTRIBUTES": place}


def test_what_workers_say_themselves_stands() -> None:
    theirs = "team=mail,procq.queue=other,"
    told = words({**ENDPOINT, "OTEL_SERVICE_NAME": "shop", "OTEL_RESOURCE_ATTRIBUTES": theirs})
    assert told == {"OTEL_RESOURCE_ATTRIBUTES": "team=mail,procq.queue=other,procq.project=my%20shop"}
    named = words({**ENDPOINT, "OTEL_RESOURCE_ATTRIBUTES": "service.name=shop"})
    assert "OTEL_SERVICE_NAME" not in named
