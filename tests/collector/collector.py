"""The Collector of OpenTelemetry, as main.go beside this has it: what it has received, as it writes it down itself."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.servers.rabbitmq import free_ports
from tests.servers.serving import serving

PROGRAM: Final = Path(__file__).parents[2] / ".collector" / "collector"
_CONFIGURATION: Final = """\
receivers:
  otlp:
    protocols:
      http: {{endpoint: "127.0.0.1:{http}"}}
      grpc: {{endpoint: "127.0.0.1:{grpc}"}}
exporters:
  file/traces: {{path: "{folder}/traces.jsonl", flush_interval: 50ms}}
  file/metrics: {{path: "{folder}/metrics.jsonl", flush_interval: 50ms}}
  file/logs: {{path: "{folder}/logs.jsonl", flush_interval: 50ms}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [file/traces]}}
    metrics: {{receivers: [otlp], exporters: [file/metrics]}}
    logs: {{receivers: [otlp], exporters: [file/logs]}}
"""
Json = dict[str, Any]


@dataclass(frozen=True)
class Collector:
    """What it has written so far."""

    folder: Path
    http: str
    grpc: str

    def spans(self) -> list[Json]:
        return self._all("traces", "resourceSpans", "scopeSpans", "spans")

    def records(self) -> list[Json]:
        return self._all("logs", "resourceLogs", "scopeLogs", "logRecords")

    def trace_of(self, name: str) -> list[Json]:
        """All spans of the newest trace that such a span belongs to."""
        spans = self.spans()
        found = [span for span in spans if span["name"] == name]
        return [span for span in spans if span["traceId"] == found[-1]["traceId"]] if found else []

    def newest(self, name: str) -> Json:
        """The points of a metric as they were received last, by the queue that they are about; with its kind."""
        found: Json = {}
        for metric in self._all("metrics", "resourceMetrics", "scopeMetrics", "metrics"):
            if metric["name"] == name:
                (kind,) = metric.keys() & {"sum", "gauge", "histogram"}
                found = {"kind": kind, **{k: v for k, v in metric[kind].items() if k != "dataPoints"}}
                found["points"] = metric[kind]["dataPoints"]
        return found

    def readings(self) -> int:
        """How many times numbers were received."""
        return len(self._lines("metrics"))

    def resources(self) -> list[Json]:
        """Who has sent each batch, of anything."""
        named = (("traces", "resourceSpans"), ("metrics", "resourceMetrics"), ("logs", "resourceLogs"))
        return [attributes(each["resource"]) for name, key in named for line in self._lines(name) for each in line[key]]

    def _all(self, name: str, *keys: str) -> list[Json]:
        found = self._lines(name)
        for key in keys:
            found = [each for owner in found for each in owner.get(key, [])]
        return found

    def _lines(self, name: str) -> list[Json]:
        path = self.folder / f"{name}.jsonl"
        whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
        return [json.loads(line) for line in whole.splitlines()]


def attributes(owner: Json) -> Json:
    """Of a span, a record, a point or a resource. Whole numbers are text in JSON, because they are long."""
    found: Json = {}
    for each in owner.get("attributes", []):
        ((kind, value),) = each["value"].items()
        found[each["key"]] = int(value) if kind == "intValue" else value
    return found


@contextmanager
def collecting(folder: Path) -> Iterator[Collector]:
    """Runs one in `folder`, which is made for it."""
    if not PROGRAM.exists():
        pytest.fail(f"{PROGRAM} is not there: `make collector` builds it")
    folder.mkdir()
    http, grpc = free_ports(2)
    configuration = folder / "collector.yaml"
    configuration.write_text(_CONFIGURATION.format(http=http, grpc=grpc, folder=folder))
    command: list[str | Path] = [PROGRAM, "--config", configuration]
    with serving(command, folder / "collector.log", lambda: _accepts(http) and _accepts(grpc)):
        yield Collector(folder, f"http://127.0.0.1:{http}", f"http://127.0.0.1:{grpc}")


def _accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
