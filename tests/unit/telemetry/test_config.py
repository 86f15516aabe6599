"""The standard variables."""

from __future__ import annotations

import pytest

from procq.telemetry.asked import file, wanted
from procq.telemetry.config import Batching, Means, Signal, read
from procq.telemetry.offer import offered

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}


def signals(environ: dict[str, str]) -> dict[str, list[str]]:
    words = {Means.HTTP: "otlp", Means.GRPC: "grpc", Means.CONSOLE: "console"}
    return {str(signal): [words[way.means] for way in ways] for signal, ways in read(environ).ways.items()}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "shop", "OTEL_RESOURCE_ATTRIBUTES": "a=b"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_TRACES_EXPORTER": ""},
        {**ENDPOINT, "OTEL_SDK_DISABLED": " True "},
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


def test_a_file_may_ask_although_the_sdk_is_disabled() -> None:
    assert wanted({"OTEL_CONFIG_FILE": "otel.yaml", "OTEL_SDK_DISABLED": "true"})


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
    assert Signal.METRICS not in config.ways
    assert [way.means for way in config.ways[Signal.TRACES]] == [Means.HTTP]
    (told,) = config.troubles
    assert told == "OTEL_METRICS_EXPORTER asks for 'statsd', which procq has not: otlp, console or none"


def test_a_protocol_is_for_all_or_for_one() -> None:
    grpc = {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "gRPC"}
    assert signals(grpc) == {"traces": ["grpc"], "metrics": ["grpc"], "logs": ["grpc"]}
    own = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
    assert signals({**grpc, **own}) == {"traces": ["otlp"], "metrics": ["grpc"], "logs": ["grpc"]}


def test_another_protocol_is_told_and_not_guessed() -> None:
    config = read({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_LOGS_EXPORTER": "none"})
    assert config.ways == {}
    assert config.on, "there is something to tell"
    assert config.troubles == tuple(
        f"OTEL_EXPORTER_OTLP_PROTOCOL asks for 'http/json': procq speaks http/protobuf and grpc, and sends no {signal}"
        for signal in ("traces", "metrics")
    )


def test_numbers_are_milliseconds_and_counts() -> None:
    given = {
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_BSP_MAX_QUEUE_SIZE": "100",
        "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "10",
        "OTEL_METRIC_EXPORT_INTERVAL": "1500",
    }
    config = read({**ENDPOINT, **given})
    ways = {signal: found for signal, (found,) in config.ways.items()}
    assert ways[Signal.TRACES].batching == Batching(0.2, 100, 100), "a batch is no more than the queue"
    assert config.early == 100
    assert ways[Signal.LOGS].batching == Batching(1.0, 2_048, 10)
    assert ways[Signal.METRICS].interval == 1.5
    assert config.troubles == ()


@pytest.mark.parametrize("text", ["0", "-1", "soon", "1e3", "999999999999", "\u0663"])
def test_numbers_that_are_none_are_told(text: str) -> None:
    config = read({**ENDPOINT, "OTEL_METRIC_EXPORT_INTERVAL": text})
    assert config.ways[Signal.METRICS][0].interval == 60.0
    assert "60000 is used" in config.troubles[0]


def test_a_file_is_named_by_one_of_two_variables() -> None:
    old, new = {"OTEL_EXPERIMENTAL_CONFIG_FILE": "old.yaml"}, {"OTEL_CONFIG_FILE": " new.yaml "}
    assert wanted(old) and wanted(new)
    assert file(old) == ("OTEL_EXPERIMENTAL_CONFIG_FILE", "old.yaml")
    assert file({**old, **new}) == ("OTEL_CONFIG_FILE", "new.yaml")
    assert file({"OTEL_CONFIG_FILE": " "}) is None
    assert words(new), "workers inherit the variable, and their file may refer to others"


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
