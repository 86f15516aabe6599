"""Telemetry of a real procq, as a real receiver decodes it; and a receiver that does not do its part."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.waiting import throughout, until, within
from tests.servers.listening import unused
from tests.servers.otlp import Receiver, attributes, receiving

pytestmark = pytest.mark.process

COUNTED = Path(__file__).parent / "workers" / "counted.py"
QUICK = {
    "OTEL_BSP_SCHEDULE_DELAY": "50",
    "OTEL_BLRP_SCHEDULE_DELAY": "50",
    "OTEL_METRIC_EXPORT_INTERVAL": "200",
}
SLEEPERS = "queues:\n  emails:\n    command: sleep 1000\n    workers: {workers}\n"
READY_LATE = SLEEPERS + "    ready:\n      delay: 100ms\n"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def sending(procqs: Procqs, manifest: str, url: str, **variables: str) -> Procq:
    procq = procqs(manifest)
    procq.environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": url, **QUICK, **variables}
    return procq


def started(procq: Procq, workers: int) -> Procq:
    procq.start(workers)
    assert procq.baseline is not None
    # A connection for each signal stays open.
    procq.baseline = replace(procq.baseline, control_plane=procq.baseline.control_plane + 3)
    return procq


def names(spans: list[Any]) -> Counter[str]:
    return Counter(span.name.removeprefix("procq.") for span in spans)


def trace_of(receiver: Receiver, name: str) -> list[Any]:
    """All spans of the newest trace that such a span belongs to."""
    spans = receiver.spans()
    found = [span for span in spans if span.name == name]
    return [span for span in spans if span.trace_id == found[-1].trace_id] if found else []


def test_one_save_is_one_trace_with_reading_plan_starts_and_readiness(procqs: Procqs, receiver: Receiver) -> None:
    procq = started(sending(procqs, READY_LATE.format(workers=1), receiver.url), 1)
    until(lambda: names(receiver.spans())["worker.start"] == 1, "the start to arrive")
    procq.save(READY_LATE.format(workers=3))
    whole = {"reload": 1, "load": 1, "plan": 1, "worker.start": 2, "worker.ready": 2}
    until(lambda: names(trace_of(receiver, "procq.reload")) == whole, lambda: str(names(receiver.spans())))
    spans = trace_of(receiver, "procq.reload")
    known = {span.span_id: span for span in spans}
    above = {(span.name, known[span.parent_span_id].name if span.parent_span_id else "") for span in spans}
    assert above == {
        ("procq.reload", ""),
        ("procq.load", "procq.reload"),
        ("procq.plan", "procq.reload"),
        ("procq.worker.start", "procq.plan"),
        ("procq.worker.ready", "procq.worker.start"),
    }
    pids = {attributes(span)["process.pid"] for span in spans if span.name == "procq.worker.start"}
    assert pids == {stat.pid for worker, stat in procq.workers().items() if worker != "emails.1"}
    for span in spans:
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        if span.name == "procq.worker.ready":
            assert span.end_time_unix_nano - span.start_time_unix_nano > 9e7
    (worker, *_) = procq.workers().values()
    environment = Path(f"/proc/{worker.pid}/environ").read_text().split("\0")
    assert "OTEL_SERVICE_NAME=emails" in environment
    assert "OTEL_RESOURCE_ATTRIBUTES=procq.project=shop,procq.queue=emails" in environment
    reload = next(span for span in spans if span.name == "procq.reload")
    manifest = os.stat(procq.manifest).st_mtime_ns
    assert abs(reload.start_time_unix_nano - manifest) < 5e9, "times are those of the wall"


def told(receiver: Receiver, event: str) -> list[Any]:
    return [record for record in receiver.records() if record.event_name == event]


def test_a_stop_and_a_crash_and_who_tells_it(procqs: Procqs, receiver: Receiver) -> None:
    named = {"OTEL_SERVICE_NAME": "shop", "OTEL_RESOURCE_ATTRIBUTES": "team=mail%20room,service.version=7"}
    procq = started(sending(procqs, SLEEPERS.format(workers=2), receiver.url, **named), 2)
    before = procq.workers()
    psutil.Process(before["emails.1"].pid).kill()
    until(lambda: trace_of(receiver, "procq.worker.restart"), "the restart to arrive")
    until(lambda: names(trace_of(receiver, "procq.worker.restart"))["worker.start"] == 1, "its start")
    procq.save(SLEEPERS.format(workers=1))
    until(lambda: names(trace_of(receiver, "procq.reload"))["worker.stop"] == 1, "the stop to arrive")
    restart = next(span for span in receiver.spans() if span.name == "procq.worker.restart")
    assert attributes(restart)["procq.reason"] == "SIGKILL"
    (first,) = [link.span_id for link in restart.links]
    start = next(span for span in receiver.spans() if span.span_id == first)
    assert attributes(start)["process.pid"] == before["emails.1"].pid
    resource = receiver.resource()
    assert (resource["service.name"], resource["service.version"], resource["team"]) == ("shop", "7", "mail room")


def test_what_procq_says_is_a_log_with_the_ids_of_its_trace(procqs: Procqs, receiver: Receiver) -> None:
    procq = started(sending(procqs, SLEEPERS.format(workers=1), receiver.url), 1)
    until(lambda: any(r.event_name == "procq.started" for r in receiver.records()), "the log")
    procq.save(SLEEPERS.format(workers=2))
    until(lambda: any("saved" in r.body.string_value for r in receiver.records()), "the save to be told")
    until(lambda: names(trace_of(receiver, "procq.reload"))["worker.start"] == 1, "the trace")
    until(lambda: len([r for r in receiver.records() if r.event_name == "procq.started"]) == 2, "the second start")
    (_, second) = [r for r in receiver.records() if r.event_name == "procq.started"]
    assert second.trace_id == trace_of(receiver, "procq.reload")[0].trace_id
    assert attributes(second)["procq.worker"] == "emails.2"
    assert second.severity_text == "INFO"


def test_sums_and_histograms_are_right_to_the_unit(procqs: Procqs, receiver: Receiver) -> None:
    """Three workers do seven jobs each, the last of them in vain; one more that is gone did five."""
    manifest = (
        "queues:\n"
        f"  a:\n    command: {sys.executable} {COUNTED} 7\n    workers: 3\n    ready: notify\n"
        f"  b:\n    command: {sys.executable} {COUNTED} 5\n    workers: {{b}}\n    ready: notify\n"
    )
    procq = started(sending(procqs, manifest.format(b=2), receiver.url), 5)

    def done(name: str, queue: str) -> float:
        points = [p for p in receiver.newest(name) if attributes(p)["queue"] == queue]
        return float(sum(p.as_int or p.as_double for p in points))

    until(
        lambda: done("procq.queue.jobs.finished", "a") == 21, lambda: str(receiver.newest("procq.queue.jobs.finished"))
    )
    until(lambda: done("procq.queue.jobs.finished", "b") == 10, "the jobs of b")
    procq.save(manifest.format(b=1))
    procq.wait_running(4)
    number = len(receiver.metrics)
    until(lambda: len(receiver.metrics) > number + 1, "another reading")
    assert (done("procq.queue.jobs.finished", "b"), done("procq.queue.jobs.failed", "b")) == (10, 2), (
        "who is gone counts"
    )
    assert done("procq.queue.jobs.failed", "a") == 3
    took = {attributes(point)["queue"]: point for point in receiver.newest("messaging.process.duration")}
    assert {queue: point.count for queue, point in took.items()} == {"a": 21, "b": 10}
    for point in took.values():
        assert sum(point.bucket_counts) == point.count
        assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
        assert 0 < point.sum < 5
        assert point.start_time_unix_nano < point.time_unix_nano
    spawns = {attributes(point)["queue"]: point.count for point in receiver.newest("procq.queue.spawn.duration")}
    assert spawns == {"a": 3, "b": 2}
    assert sum(point.as_int for point in receiver.newest("procq.queue.exits")) == 1


@pytest.mark.parametrize("trouble", ["refuses", "hangs", "500"])
def test_a_receiver_that_does_not_do_its_part_harms_nobody_and_is_used_again(procqs: Procqs, trouble: str) -> None:
    port = unused()
    small = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1", "OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16"}
    procq = sending(procqs, SLEEPERS.format(workers=1), f"http://127.0.0.1:{port}", **small)
    if trouble != "refuses":
        with receiving(port) as receiver:
            receiver.answers = 500 if trouble == "500" else 200
            if trouble == "hangs":
                receiver.open.clear()
            goes_on(started(procq, 1))
            receiver.answers = 200
            receiver.open.set()
            is_used_again(procq, receiver)
        return
    goes_on(started(procq, 1))
    with receiving(port) as receiver:
        is_used_again(procq, receiver)


def goes_on(procq: Procq) -> None:
    """Workers come and go in time, the memory stays what it is, and what is wrong is said once for each signal."""
    until(lambda: procq.said().count("not delivered") == 3, procq.said)
    memory = psutil.Process(procq.control_plane()).memory_info().rss
    for _ in range(20):
        procq.save(SLEEPERS.format(workers=4))
        within(2.0, lambda: len(procq.workers()) == 4, "four workers")
        procq.save(SLEEPERS.format(workers=1))
        within(2.0, lambda: len(procq.workers()) == 1, "one worker")
    assert procq.said().count("not delivered") == 3, procq.said()
    grown = psutil.Process(procq.control_plane()).memory_info().rss - memory
    assert grown < 8 << 20, f"{grown >> 20} MiB"


def is_used_again(procq: Procq, receiver: Receiver) -> None:
    def lost(why: str) -> int:
        points = [p for p in receiver.newest("procq.telemetry.lost") if attributes(p)["why"] == why]
        return sum(point.as_int for point in points)

    # Something to send: nothing may wait any more.
    procq.save(SLEEPERS.format(workers=2))
    procq.wait_running(2)
    until(lambda: procq.said().count("delivered again") == 3, procq.said)
    procq.save(SLEEPERS.format(workers=4))
    until(lambda: names(trace_of(receiver, "procq.reload"))["worker.start"] == 2, "a trace that is whole")
    until(lambda: lost("not_delivered") > 0, "what was lost to be counted")


def test_another_control_plane_goes_on_as_the_same_service(procqs: Procqs, receiver: Receiver) -> None:
    procq = started(sending(procqs, SLEEPERS.format(workers=2), receiver.url), 2)
    until(lambda: names(receiver.spans())["worker.start"] == 2, "the start to arrive")
    procq.kill_control_plane()
    until(lambda: names(receiver.spans())["takeover"] == 1, "the other one")
    procq.save(SLEEPERS.format(workers=3))
    until(lambda: names(trace_of(receiver, "procq.reload"))["worker.start"] == 1, "what it does")
    assert names(receiver.spans())["worker.start"] == 3, "no worker was touched"
    resources = [attributes(each.resource) for message in receiver.traces for each in message.resource_spans]
    assert len({resource["service.instance.id"] for resource in resources}) == 1
    assert len({resource["process.pid"] for resource in resources}) == 2


def test_the_end_is_told_and_waits_for_nobody(procqs: Procqs, receiver: Receiver) -> None:
    # What comes by itself comes in an hour.
    rare = {**dict.fromkeys(QUICK, "3600000"), "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "1"}
    procq = started(sending(procqs, SLEEPERS.format(workers=2), receiver.url, **rare), 2)
    until(lambda: receiver.logs, "telemetry to be on")
    assert not receiver.traces
    procq.command("down")
    assert names(receiver.spans())["shutdown"] == 1
    assert names(receiver.spans())["worker.start"] == 2
    assert names(receiver.spans())["worker.stop"] == 2, "who was stopped is told too"
    assert len(receiver.metrics) == 1
    assert any(record.event_name == "procq.shutting_down" for record in receiver.records())


def test_a_receiver_that_hangs_does_not_keep_procq_from_leaving(procqs: Procqs, receiver: Receiver) -> None:
    receiver.open.clear()
    procq = started(sending(procqs, SLEEPERS.format(workers=2), receiver.url), 2)
    until(lambda: receiver.asked > 0, "telemetry to be on")
    within(3.0, lambda: procq.command("down") is not None, "the end")
    assert "Traceback" not in procq.said()


CANARIES = ("hunter2-environment", "hunter2-of-a-url", "hunter2-of-a-file", "hunter2-in-the-manifest")


def test_secrets_are_in_nothing_that_is_sent(procqs: Procqs, receiver: Receiver) -> None:
    manifest = (
        "env_file: .env\nqueues:\n  w:\n    command: sleep 1000\n"
        f"    env:\n      TOKEN: {CANARIES[3]}MORE\n      OTHER: ${{FILED}}\n"
        f"    source: redis-list://user:{CANARIES[1]}@127.0.0.1:{unused()}/0?key=jobs\n    workers: 1..2\n"
    )
    procq = sending(
        procqs,
        manifest.replace("MORE", ""),
        receiver.url,
        SECRET=CANARIES[0],
        OTEL_EXPORTER_OTLP_HEADERS="api-key=in-the-header",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
    )
    (procq.folder / ".env").write_text(f"FILED={CANARIES[2]}\n")
    started(procq, 1)
    procq.save(manifest.replace("MORE", "-2"))
    until(lambda: names(trace_of(receiver, "procq.reload"))["worker.start"], "the save")
    # Both concern lines with a secret in them.
    for n, (right, wrong) in enumerate((("1..2", "1"), ("TOKEN: ", "- TOKEN: ")), 1):
        procq.save(manifest.replace("MORE", "-2").replace(right, wrong))
        until(lambda n=n: len(told(receiver, "procq.reload_failed")) == n, "the refusal")  # type: ignore[misc]
    until(lambda: receiver.metrics, "numbers")
    sent = str([receiver.traces, receiver.metrics, receiver.logs])
    assert [canary for canary in (*CANARIES, "in-the-header") if canary in sent] == []
    assert {headers.get("api-key") for headers in receiver.headers} == {"in-the-header"}
    assert {headers.get("content-encoding") for headers in receiver.headers} == {"gzip"}


LIBRARIES = (
    "opentelemetry",
    "google.protobuf",
    "grpc",
    "requests",
    "urllib3",
    "procq.telemetry.config",
    "procq.telemetry.declared",
    "procq.telemetry.lane",
    "procq.telemetry.otlp",
    "procq.telemetry.reader",
    "procq.telemetry.running",
)


def test_nothing_of_it_is_imported_where_nobody_asks(procqs: Procqs, receiver: Receiver, tmp_path: Path) -> None:
    """What a control plane has imported once everything runs, as it says itself; nor where it is switched off."""
    for asked, disabled in ((False, "false"), (False, "true"), (True, "false")):
        procq = procqs(SLEEPERS.format(workers=1))
        site = tmp_path / f"site-{asked}-{disabled}"
        site.mkdir()
        (site / "sitecustomize.py").write_text(
            "import os, signal, sys\n"
            "def tell(*_):\n"
            f"    with open({str(site / 'draft')!r}, 'w') as file: file.write('\\n'.join(sys.modules))\n"
            f"    os.rename({str(site / 'draft')!r}, {str(site / 'list')!r})\n"
            "if 'procq.daemon' in ' '.join(sys.orig_argv): signal.signal(signal.SIGUSR2, tell)\n"
        )
        procq.environment["PYTHONPATH"] = str(site)
        if asked or disabled == "true":
            more = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_SDK_DISABLED": disabled}
            procq.environment |= {**more, **QUICK}
        started(procq, 1)
        if asked:
            until(lambda: receiver.traces, "it to be on")
        os.kill(procq.control_plane(), 12)
        until((site / "list").exists, "the list")
        found = set((site / "list").read_text().split("\n"))
        assert "procq.daemon.plane" in found
        seen = [module for module in found if module.startswith(LIBRARIES)]
        assert bool(seen) is asked, seen


def test_libraries_that_are_missing_are_told_in_one_sentence(
    procqs: Procqs, receiver: Receiver, tmp_path: Path
) -> None:
    (tmp_path / "opentelemetry.py").write_text("raise ImportError('No module', name='opentelemetry')\n")
    procq = started(sending(procqs, SLEEPERS.format(workers=1), receiver.url, PYTHONPATH=str(tmp_path)), 1)
    until(lambda: "pip install 'procq[otlp]'" in procq.said(), procq.said)
    procq.save(SLEEPERS.format(workers=2))
    procq.wait_running(2)
    throughout(0.3, lambda: procq.said().count("telemetry is asked for") == 1, "silence")
    assert receiver.asked == 0
