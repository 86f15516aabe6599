"""A real procq and the Collector: what procq sends is what the Collector takes, by each way that there is."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.collector.collector import Collector, Json, attributes, collecting
from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.waiting import until

pytestmark = [pytest.mark.collector, pytest.mark.process]

COUNTED: Final = Path(__file__).parents[1] / "process" / "workers" / "counted.py"
READY_LATE: Final = (
    "queues:\n  emails:\n    command: sleep 1000\n    workers: {workers}\n    ready:\n      delay: 100ms\n"
)
QUICK: Final = {
    "OTEL_BSP_SCHEDULE_DELAY": "50",
    "OTEL_BLRP_SCHEDULE_DELAY": "50",
    "OTEL_METRIC_EXPORT_INTERVAL": "200",
}
FILE: Final = """\
file_format: "1.0"
resource:
  attributes:
    - {name: team, value: mail}
    - {name: numbers, value: [1, 2], type: int_array}
tracer_provider:
  processors:
    - batch:
        schedule_delay: 50
        exporter:
          otlp_grpc:
            endpoint: ${GRPC}
            compression: gzip
logger_provider:
  processors:
    - simple:
        exporter:
          otlp_http:
            endpoint: ${HTTP}/v1/logs
meter_provider:
  readers:
    - periodic:
        interval: 200
        exporter:
          otlp_http:
            endpoint: ${HTTP}/v1/metrics
            compression: gzip
"""
_DESCRIPTORS: Final = 12
"""What exporters keep open for their connections."""


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with collecting(tmp_path / "collector") as collector:
        yield collector


@pytest.fixture(params=["http", "grpc", "file"])
def variables(request: pytest.FixtureRequest, collector: Collector, tmp_path: Path) -> dict[str, str]:
    """How procq is told to send."""
    if request.param == "file":
        (tmp_path / "otel.yaml").write_text(FILE)
        return {"OTEL_CONFIG_FILE": str(tmp_path / "otel.yaml"), "HTTP": collector.http, "GRPC": collector.grpc}
    if request.param == "grpc":
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", **QUICK}
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.http, "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", **QUICK}


def started(procqs: Procqs, manifest: str, variables: dict[str, str], workers: int) -> Procq:
    procq = procqs(manifest)
    procq.environment |= variables
    procq.start(workers)
    assert procq.baseline is not None
    procq.baseline = replace(procq.baseline, control_plane=procq.baseline.control_plane + _DESCRIPTORS)
    return procq


def names(spans: list[Json]) -> Counter[str]:
    return Counter(span["name"].removeprefix("procq.") for span in spans)


def test_one_save_is_one_trace_with_plan_starts_and_readiness_and_records_in_it(
    procqs: Procqs, collector: Collector, variables: dict[str, str]
) -> None:
    procq = started(procqs, READY_LATE.format(workers=1), variables, 1)
    until(lambda: names(collector.spans())["worker.start"] == 1, "the start to arrive")
    procq.save(READY_LATE.format(workers=3))
    whole = {"reload": 1, "load": 1, "plan": 1, "worker.start": 2, "worker.ready": 2}
    until(lambda: names(collector.trace_of("procq.reload")) == whole, lambda: str(names(collector.spans())))
    spans = collector.trace_of("procq.reload")
    known = {span["spanId"]: span for span in spans}
    above = {(span["name"], known[span["parentSpanId"]]["name"] if "parentSpanId" in span else "") for span in spans}
    assert above == {
        ("procq.reload", ""),
        ("procq.load", "procq.reload"),
        ("procq.plan", "procq.reload"),
        ("procq.worker.start", "procq.plan"),
        ("procq.worker.ready", "procq.worker.start"),
    }
    pids = {attributes(span)["process.pid"] for span in spans if span["name"] == "procq.worker.start"}
    assert pids == {stat.pid for worker, stat in procq.workers().items() if worker != "emails.1"}
    for span in spans:
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
        assert span["status"].get("code", 0) == 0
    until(lambda: len(said(collector, "procq.started")) == 3, lambda: str(collector.records()))
    (_, *later) = said(collector, "procq.started")
    assert {record["traceId"] for record in later} == {spans[0]["traceId"]}
    assert {known[record["spanId"]]["name"] for record in later} <= {"procq.worker.start", "procq.worker.ready"}
    assert {attributes(record)["procq.worker"] for record in later} == {"emails.2", "emails.3"}
    assert {(record["severityNumber"], record["severityText"]) for record in later} == {(9, "INFO")}
    until(collector.readings, "numbers")
    resources = collector.resources()
    assert {each["service.name"] for each in resources} == {"procq"}
    assert len({each["service.instance.id"] for each in resources}) == 1
    if "OTEL_CONFIG_FILE" in variables:
        assert {each["team"] for each in resources} == {"mail"}
        assert all([each["intValue"] for each in one["numbers"]["values"]] == ["1", "2"] for one in resources)


def said(collector: Collector, event: str) -> list[Json]:
    return [record for record in collector.records() if record.get("eventName") == event]


def test_sums_and_histograms_are_right_to_the_unit(
    procqs: Procqs, collector: Collector, variables: dict[str, str]
) -> None:
    """Three workers do seven jobs each, the last of them in vain; one more that is gone did five."""
    manifest = (
        "queues:\n"
        f"  a:\n    command: {sys.executable} {COUNTED} 7\n    workers: 3\n    ready: notify\n"
        f"  b:\n    command: {sys.executable} {COUNTED} 5\n    workers: {{b}}\n    ready: notify\n"
    )
    procq = started(procqs, manifest.format(b=2), variables, 5)

    def points(name: str) -> dict[str, Json]:
        return {attributes(point)["queue"]: point for point in collector.newest(name).get("points", [])}

    def jobs(name: str) -> dict[str, int]:
        return {queue: int(point["asInt"]) for queue, point in points(name).items()}

    until(
        lambda: jobs("procq.queue.jobs.finished") == {"a": 21, "b": 10},
        lambda: str(points("procq.queue.jobs.finished")),
    )
    procq.save(manifest.format(b=1))
    procq.wait_running(4)
    number = collector.readings()
    until(lambda: collector.readings() > number + 1, "another reading")
    assert jobs("procq.queue.jobs.finished") == {"a": 21, "b": 10}, "who is gone counts"
    assert jobs("procq.queue.jobs.failed") == {"a": 3, "b": 2}
    finished = collector.newest("procq.queue.jobs.finished")
    assert (finished["kind"], finished["aggregationTemporality"], finished["isMonotonic"]) == ("sum", 2, True)
    took = points("messaging.process.duration")
    assert {queue: int(point["count"]) for queue, point in took.items()} == {"a": 21, "b": 10}
    for point in took.values():
        assert sum(map(int, point["bucketCounts"])) == int(point["count"])
        assert len(point["bucketCounts"]) == len(point["explicitBounds"]) + 1
        assert 0 < point["sum"] < 5
        assert int(point["startTimeUnixNano"]) < int(point["timeUnixNano"])
    assert collector.newest("messaging.process.duration")["aggregationTemporality"] == 2
    spawns = {queue: int(point["count"]) for queue, point in points("procq.queue.spawn.duration").items()}
    assert spawns == {"a": 3, "b": 2}
    states = {
        (attributes(point)["queue"], attributes(point)["state"]): int(point["asInt"])
        for point in collector.newest("procq.queue.workers")["points"]
    }
    assert (states["a", "running"], states["b", "running"]) == (3, 1)


def test_the_end_is_told(procqs: Procqs, collector: Collector, variables: dict[str, str]) -> None:
    procq = started(procqs, READY_LATE.format(workers=2), variables, 2)
    until(lambda: said(collector, "procq.started"), "telemetry to be on")
    procq.command("down")
    until(lambda: names(collector.spans())["worker.stop"] == 2, lambda: str(names(collector.spans())))
    assert names(collector.spans())["shutdown"] == 1
    until(lambda: said(collector, "procq.shutting_down"), lambda: str(collector.records()[-5:]))
