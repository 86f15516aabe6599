"""A receiver of telemetry that is out of order for minutes: workers go on, memory is bounded, what is lost is counted.

`PROCQ_TEST_OUTAGE` has the minutes. Three instances at once, each with a receiver that has another trouble.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.trials import OUTAGE
from tests.process.support.waiting import until, within
from tests.servers.listening import unused
from tests.servers.otlp import Receiver, attributes, receiving

pytestmark = [pytest.mark.soak, pytest.mark.process]

STEADY = Path(__file__).parents[1] / "process" / "workers" / "steady.py"
SLEEPERS, STEADIES = 8, 2
PACE = 2.0
"""Seconds from one kill to the next: each of the eight has run for more than ten by then, and is replaced at once."""
WARM = 10
"""Kills before the outage, with which those during it are compared."""
QUEUE, BATCH = 32, 4
GROWTH = 6 << 20
"""Bytes that the control plane may need more than before the outage."""
INTERVAL = 1.0
AGAIN = 60.0
"""Seconds after the outage until all is as before: an exporter is in its last attempt for up to ten."""
SMALL = {
    "OTEL_BSP_SCHEDULE_DELAY": "100",
    "OTEL_BLRP_SCHEDULE_DELAY": "100",
    "OTEL_METRIC_EXPORT_INTERVAL": str(int(INTERVAL * 1000)),
    **dict.fromkeys(("OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BLRP_MAX_QUEUE_SIZE"), str(QUEUE)),
    **dict.fromkeys(("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE"), str(BATCH)),
}


@dataclass(slots=True)
class Shop:
    """One procq, its receiver, and what has been done to it."""

    procq: Procq
    receiver: Receiver
    began: float = field(default_factory=time.monotonic)
    kills: int = 0

    @property
    def starts(self) -> Path:
        return self.procq.folder / "starts"

    @property
    def jobs(self) -> Path:
        return self.procq.folder / "jobs"

    def pids(self) -> list[int]:
        return [int(line) for line in self.starts.read_text().split()] if self.starts.exists() else []

    def kill(self) -> float:
        """Kills the worker that has run for longest; seconds until another one executes."""
        pids = self.pids()
        os.kill(pids[-SLEEPERS], signal.SIGKILL)
        self.kills += 1
        return within(2.0, lambda: len(self.pids()) > len(pids), "another worker")

    def memory(self) -> int:
        """Resident bytes of the control plane."""
        return int(psutil.Process(self.procq.control_plane()).memory_info().rss)

    def lost(self, signal: str) -> Counter[str]:
        """What has been lost of it, by why, as it was told last."""
        points = [p for p in self.receiver.newest("procq.telemetry.lost") if attributes(p)["signal"] == signal]
        return Counter({attributes(point)["why"]: point.as_int for point in points})

    def events(self) -> int:
        """Everything that has happened so far, by the journal."""
        return len(self.procq.command("events", "--since", "2h", "--json").splitlines())

    def told(self, name: str, **labels: str) -> int:
        """A counter as it was sent last."""
        points = [p for p in self.receiver.newest(name) if labels.items() <= attributes(p).items()]
        return int(sum(point.as_int or point.as_double for point in points))


@contextmanager
def in_trouble(trouble: str, port: int, receiver: Receiver, running: ExitStack) -> Iterator[None]:
    """A receiver with this trouble, that has none afterwards."""
    match trouble:
        case "refuses":
            running.close()
            yield
            running.enter_context(receiving(port, receiver))
        case "hangs":
            receiver.open.clear()
            yield
            receiver.open.set()
        case _:
            receiver.answers = 500
            yield
            receiver.answers = 200


def opened(procqs: Procqs, receiver: Receiver) -> Shop:
    procq = procqs("queues: {}\n")
    shop = Shop(procq, receiver)
    procq.save(
        "queues:\n"
        f"  sleepers:\n    command: sh -c 'echo $$ >> {shop.starts}; exec sleep 10000'\n    workers: {SLEEPERS}\n"
        f"  steady:\n    command: {sys.executable} {STEADY} {shop.jobs}\n    workers: {STEADIES}\n    ready: notify\n"
    )
    procq.environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, **SMALL}
    procq.start(SLEEPERS + STEADIES)
    assert procq.baseline is not None
    # A connection for each signal stays open.
    procq.baseline = replace(procq.baseline, control_plane=procq.baseline.control_plane + 3)
    return shop


def killing(shop: Shop, seconds: float) -> tuple[list[float], int]:
    """Kills a worker every `PACE` seconds; how long each restart took, and the most memory on the way."""
    latencies, most, end = [], 0, time.monotonic() + seconds
    while time.monotonic() < end:
        latencies.append(shop.kill())
        most = max(most, shop.memory())
        time.sleep(PACE)
    return latencies, most


def recovering(shop: Shop) -> None:
    """Until all signals are delivered again: who has lost all that there was needs something new to find that out."""
    end = time.monotonic() + AGAIN
    while shop.procq.said().count("delivered again") < 3:
        assert time.monotonic() < end, shop.procq.said()
        shop.kill()
        time.sleep(PACE)


def outlived(shop: Shop, trouble: str, port: int, running: ExitStack) -> str:
    """Everything that is promised of one outage; the numbers in one line."""
    procq, receiver = shop.procq, shop.receiver
    until(lambda: receiver.metrics and receiver.logs and receiver.traces, "telemetry to be on")
    calm, before = killing(shop, WARM * PACE)
    pid = procq.control_plane()
    done = shop.jobs.stat().st_size
    cut = time.time_ns()
    with in_trouble(trouble, port, receiver, running):
        began = time.monotonic()
        busy, most = killing(shop, OUTAGE)
        assert procq.said().count("are not delivered") == 3, procq.said()
        assert procq.said().count("delivered again") == 0, procq.said()
        rate = (shop.jobs.stat().st_size - done) / (time.monotonic() - began)
        over = time.time_ns()
    recovering(shop)
    settle(shop)
    assert procq.said().count("are not delivered") == 3, "told once and not again"
    assert (procq.control_plane(), procq.info().starts) == (pid, 1), "nobody was started again"
    _, later = killing(shop, WARM * PACE)
    missing = settle(shop)
    late = [span for span in receiver.spans() if cut < span.end_time_unix_nano < over]
    assert len(late) <= QUEUE + 2 * BATCH, "more was kept than there is room for"
    assert max(most, later) - before < GROWTH, f"{(max(most, later) - before) >> 10} KiB more"
    assert statistics.median(busy) < 2 * statistics.median(calm) + 0.02, (calm, busy)
    assert rate > 0.9 * STEADIES / 0.2 * 0.8, "jobs went on"
    goes_on(shop)
    sizes = ", ".join(f"{size / 2**20:.1f}" for size in (before, most, later))
    return (
        f"{trouble} for {OUTAGE / 60:g} min: {shop.kills} kills, restarts in {ms(calm)} before and {ms(busy)} during; "
        f"control plane before, during, after {sizes} MiB; {missing}"
    )


def settle(shop: Shop) -> str:
    """What has arrived and what is said to be lost are together what there was; in words."""
    receiver = shop.receiver
    # Of a start its readiness too; of an end the life that it ends, and the restart with those two.
    spans = 2 + 2 * (SLEEPERS + STEADIES) + 4 * shop.kills
    until(
        lambda: len(receiver.spans()) + shop.lost("traces").total() == spans,
        lambda: f"{spans} spans: {Counter(span.name for span in receiver.spans())}, {shop.lost('traces')}",
    )
    until(
        lambda: len(receiver.records()) + shop.lost("logs").total() == shop.events(),
        lambda: f"{shop.events()} events: {len(receiver.records())}, {shop.lost('logs')}",
    )
    again = {"queue": "sleepers", "reason": "killed"}
    until(lambda: shop.told("procq.queue.restarts", **again) == shop.kills, f"{shop.kills} restarts")
    until(lambda: abs(shop.told("procq.queue.jobs.finished") - shop.jobs.stat().st_size) <= STEADIES, "all jobs")
    readings = (len(receiver.metrics) + shop.lost("metrics").total()) * INTERVAL / (time.monotonic() - shop.began)
    assert 0.7 < readings < 1.1, "readings are made as often as they should be, and none is forgotten"
    lost = {signal: dict(shop.lost(signal)) for signal in ("traces", "logs", "metrics")}
    return (
        f"of {spans} spans {len(receiver.spans())}, of {shop.events()} records {len(receiver.records())} came: {lost}"
    )


def goes_on(shop: Shop) -> None:
    """One more save is one whole trace."""
    manifest = shop.procq.manifest.read_text()
    shop.procq.save(manifest.replace(f"workers: {STEADIES}", f"workers: {STEADIES + 1}"))

    def whole() -> bool:
        spans: list[Any] = shop.receiver.spans()
        reload = [span.trace_id for span in spans if span.name == "procq.reload"]
        found = Counter(span.name for span in spans if span.trace_id in reload)
        return found == Counter(f"procq.{n}" for n in ("reload", "load", "plan", "worker.start", "worker.ready"))

    until(whole, "a whole trace")


def ms(latencies: list[float]) -> str:
    return f"{statistics.median(latencies) * 1000:.0f} ms (most {max(latencies) * 1000:.0f})"


def test_outages_of_the_receiver(procqs: Procqs) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(3) as together:
        found = []
        for trouble in ("hangs", "refuses", "500"):
            port = unused()
            running = stack.enter_context(ExitStack())
            receiver = running.enter_context(receiving(port))
            receiver.forgetful = True
            shop = opened(procqs, receiver)
            found.append(together.submit(outlived, shop, trouble, port, running))
        for each in found:
            print(each.result())
