"""Telemetry of a real procq by gRPC, to a receiver that is made by the library's own means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.waiting import throughout, until, within
from tests.process.test_otlp import READY_LATE, SLEEPERS, goes_on, is_used_again, names, sending, told, trace_of
from tests.servers.listening import unused
from tests.servers.otlp import Receiver, attributes
from tests.servers.otlp_grpc import receiving_by_grpc

pytestmark = pytest.mark.process

GRPC: Final = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
_DESCRIPTORS: Final = 12
"""What the library keeps open for three connections, at most; what leaks would be more with every export."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving_by_grpc() as receiver:
        yield receiver


def started(procq: Procq, workers: int) -> Procq:
    procq.start(workers)
    assert procq.baseline is not None
    procq.baseline = replace(procq.baseline, control_plane=procq.baseline.control_plane + _DESCRIPTORS)
    return procq


def noise(procq: Procq) -> list[str]:
    """Lines that the library writes by itself."""
    return re.findall(r"(?m)^.*(?:fork|grpc|\b[EWI]\d{4} ).*$", procq.said())


def test_all_three_arrive(procqs: Procqs, receiver: Receiver) -> None:
    more = {**GRPC, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=mine", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
    procq = started(sending(procqs, READY_LATE.format(workers=1), receiver.url, **more), 1)
    until(lambda: names(receiver.spans())["worker.start"] == 1, "the start to arrive")
    procq.save(READY_LATE.format(workers=3))
    whole = {"reload": 1, "load": 1, "plan": 1, "worker.start": 2, "worker.ready": 2}
    until(lambda: names(trace_of(receiver, "procq.reload")) == whole, lambda: str(names(receiver.spans())))
    until(lambda: told(receiver, "procq.started"), lambda: str({each.event_name for each in receiver.records()}))
    until(lambda: len(receiver.metrics) > 2, "numbers, again and again")
    running = {attributes(p)["state"]: p.as_int for p in receiver.newest("procq.queue.workers")}
    assert running["running"] == 3
    assert {headers["api-key"] for headers in receiver.headers} == {"mine"}
    assert receiver.resource()["service.name"] == "procq"


def test_one_of_them_may_go_another_way(procqs: Procqs, receiver: Receiver) -> None:
    only = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    started(sending(procqs, SLEEPERS.format(workers=1), receiver.url, **only), 1)
    until(receiver.spans, "the start to arrive")
    assert not receiver.logs and not receiver.metrics


@pytest.mark.parametrize("trouble", ["refuses", "hangs", "500"])
def test_a_receiver_that_does_not_do_its_part_harms_nobody_and_is_used_again(procqs: Procqs, trouble: str) -> None:
    port = unused()
    small = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1", "OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16"}
    procq = sending(procqs, SLEEPERS.format(workers=1), f"http://127.0.0.1:{port}", **GRPC, **small)
    if trouble != "refuses":
        with receiving_by_grpc(port) as receiver:
            receiver.answers = 500 if trouble == "500" else 200
            if trouble == "hangs":
                receiver.open.clear()
            goes_on(started(procq, 1))
            assert ("it answers with status INTERNAL" if trouble == "500" else "it does not answer") in procq.said()
            receiver.answers = 200
            receiver.open.set()
            is_used_again(procq, receiver)
        return
    goes_on(started(procq, 1))
    assert noise(procq) == []
    with receiving_by_grpc(port) as receiver:
        is_used_again(procq, receiver)


def test_a_receiver_that_hangs_does_not_keep_procq_from_leaving(procqs: Procqs, receiver: Receiver) -> None:
    receiver.open.clear()
    procq = started(sending(procqs, SLEEPERS.format(workers=2), receiver.url, **GRPC), 2)
    until(lambda: receiver.asked > 0, "telemetry to be on")
    within(3.0, lambda: procq.command("down") is not None, "the end")


def test_the_end_is_told(procqs: Procqs, receiver: Receiver) -> None:
    rare = {"OTEL_BSP_SCHEDULE_DELAY": "3600000", "OTEL_METRIC_EXPORT_INTERVAL": "3600000"}
    procq = started(sending(procqs, SLEEPERS.format(workers=2), receiver.url, **GRPC, **rare), 2)
    until(lambda: receiver.logs, "telemetry to be on")
    assert not receiver.traces
    procq.command("down")
    assert names(receiver.spans())["worker.stop"] == 2
    assert len(receiver.metrics) == 1


def test_processes_that_are_started_meanwhile_are_none_of_its_business(procqs: Procqs, receiver: Receiver) -> None:
    """A source runs commands from the process that has the library's threads; another control plane takes over."""
    manifest = "queues:\n  emails:\n    command: sleep 1000\n    workers: 1..2\n    source: exec:echo 0\n"
    procq = started(sending(procqs, manifest, receiver.url, **GRPC), 1)
    until(lambda: receiver.newest("procq.queue.jobs.waiting"), lambda: "numbers of the source\n" + procq.said())
    procq.kill_control_plane()
    until(lambda: names(receiver.spans())["takeover"] == 1, "the other one")
    number = len(receiver.metrics)
    until(lambda: len(receiver.metrics) > number + 2, "more of its numbers")
    procq.command("upgrade")
    until(lambda: names(receiver.spans())["takeover"] == 2, "the one after it")
    assert noise(procq) == []


def test_the_package_that_is_missing_is_told_once(procqs: Procqs, receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "grpc.py").write_text("raise ImportError('No module', name='grpc')\n")
    variables = {**GRPC, "OTEL_LOGS_EXPORTER": "none", "PYTHONPATH": str(tmp_path)}
    procq = sending(procqs, SLEEPERS.format(workers=1), receiver.url, **variables).start(1)
    expected = (
        "procq: telemetry: traces, metrics are not sent: the Python package grpc is missing where procq is installed. "
        "`pip install 'procq[otlp-grpc]'` there, and restart procq"
    )
    until(lambda: expected in procq.said(), procq.said)
    procq.save(SLEEPERS.format(workers=2))
    procq.wait_running(2)
    throughout(0.3, lambda: procq.said().count("is missing") == 1, "silence")
    assert receiver.asked == 0
