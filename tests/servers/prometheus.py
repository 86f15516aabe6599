"""Prometheus on a free port of this machine, which scrapes what a test wants."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from tests.servers.rabbitmq import free_ports
from tests.servers.serving import program, serving

_CONFIGURATION = """\
global:
  scrape_interval: 200ms
  scrape_timeout: 200ms
scrape_configs:
  - job_name: procq
    static_configs:
      - targets: ["127.0.0.1:{port}"]
"""
Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Prometheus:
    """Answers queries."""

    port: int

    def query(self, expression: str) -> dict[Labels, float]:
        """The samples of an instant vector by their labels, those of the scrape and the name left out."""
        status, body = self.ask(expression)
        assert status == 200, f"{expression}: {body}"
        result = json.loads(body)["data"]["result"]
        return {_labels(each["metric"]): float(each["value"][1]) for each in result}

    def ask(self, expression: str) -> tuple[int, str]:
        """Status and body of a query."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", f"/api/v1/query?{urlencode({'query': expression})}")
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


def labels(**values: str) -> Labels:
    """Labels as `query` gives them."""
    return frozenset(values.items())


@contextmanager
def prometheus(folder: Path, port: int) -> Iterator[Prometheus]:
    """Runs Prometheus in `folder`, which is made for it; it scrapes /metrics on `port` five times a second."""
    server = program("prometheus", "prometheus")
    folder.mkdir(mode=0o700)
    (own,) = free_ports(1)
    configuration = folder / "prometheus.yaml"
    configuration.write_text(_CONFIGURATION.format(port=port))
    command: list[str | Path] = [
        server,
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{own}",
        "--log.level=warn",
    ]
    with serving(command, folder / "prometheus.log", lambda: _ready(own)):
        yield Prometheus(own)


def _labels(metric: dict[str, str]) -> Labels:
    return frozenset((key, value) for key, value in metric.items() if key not in {"__name__", "instance", "job"})


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/-/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
