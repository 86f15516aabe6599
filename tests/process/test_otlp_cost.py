"""What telemetry takes, as far as that can be said anywhere: memory. `benches/telemetry.py` measures all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.waiting import until
from tests.process.test_otlp import QUICK, SLEEPERS, started
from tests.servers.otlp import receiving

pytestmark = pytest.mark.process

WORKERS = 200
MOST = 12 << 20
"""Bytes that traces, numbers and the log may take together."""
PLAIN = {f"{scheme}_proxy": "" for scheme in ("http", "https", "all", "HTTP", "HTTPS", "ALL")}
"""No proxy: that would take another library."""


def private(procq: Procq) -> int:
    """Bytes of the control plane that nobody shares."""
    lines = Path(f"/proc/{procq.control_plane()}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def test_telemetry_takes_less_than_twelve_mebibytes(procqs: Procqs) -> None:
    """Beside a procq without it, at the same time."""
    manifest = SLEEPERS.format(workers=WORKERS)
    without = procqs(manifest).start(WORKERS)
    with receiving() as receiver:
        telling = procqs(manifest)
        asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "HOME": str(telling.folder)}
        telling.environment |= {**PLAIN, **QUICK, **asked}
        started(telling, WORKERS)
        until(lambda: len(receiver.every("procq.up")) > 3, "some readings")
        until(lambda: len(receiver.records()) >= WORKERS and receiver.spans(), "the log and the spans")
        assert private(telling) - private(without) < MOST
