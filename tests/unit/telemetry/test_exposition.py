"""The text that Prometheus reads, to the letter."""

from __future__ import annotations

from math import inf, nan

import pytest

from procq.telemetry.exposition import name_of, render
from procq.telemetry.family import Family, Kind, Point
from procq.telemetry.histogram import Buckets
from tests.exposition import parse


def gauge(value: float, *labels: tuple[str, str], help: str = "Help.") -> Family:
    return Family("procq.a.b", Kind.GAUGE, "{job}", help, (Point(labels, value),))


def test_a_page() -> None:
    workers = Point((("queue", "emails"), ("state", "running")), 3), Point((("queue", "b"), ("state", "running")), 0)
    found = render(
        [
            Family("procq.queue.workers", Kind.GAUGE, "{worker}", "Workers by state.", workers),
            Family("procq.nothing", Kind.GAUGE, "", "Nobody has said it."),
            Family("procq.queue.wait.oldest", Kind.GAUGE, "s", "Wait.", (Point((("queue", "emails"),), 2.5),)),
            Family("procq.up", Kind.GAUGE, "", "Up.", (Point((), True),)),
        ]
    )
    assert found == (
        "# HELP procq_queue_workers Workers by state.\n"
        "# TYPE procq_queue_workers gauge\n"
        'procq_queue_workers{queue="emails",state="running"} 3\n'
        'procq_queue_workers{queue="b",state="running"} 0\n'
        "# HELP procq_queue_wait_oldest_seconds Wait.\n"
        "# TYPE procq_queue_wait_oldest_seconds gauge\n"
        'procq_queue_wait_oldest_seconds{queue="emails"} 2.5\n'
        "# HELP procq_up Up.\n"
        "# TYPE procq_up gauge\n"
        "procq_up 1\n"
    )


def test_a_histogram_is_cumulative() -> None:
    took = Buckets((0.001, 0.5, 10_000.0), (1, 0, 3, 2), 12.25)
    assert render([Family("jobs.duration", Kind.HISTOGRAM, "s", "Help.", (Point((("queue", "a"),), took),))]) == (
        "# HELP jobs_duration_seconds Help.\n"
        "# TYPE jobs_duration_seconds histogram\n"
        'jobs_duration_seconds_bucket{queue="a",le="0.001"} 1\n'
        'jobs_duration_seconds_bucket{queue="a",le="0.5"} 1\n'
        'jobs_duration_seconds_bucket{queue="a",le="10000"} 4\n'
        'jobs_duration_seconds_bucket{queue="a",le="+Inf"} 6\n'
        'jobs_duration_seconds_sum{queue="a"} 12.25\n'
        'jobs_duration_seconds_count{queue="a"} 6\n'
    )


@pytest.mark.parametrize(
    ("name", "kind", "unit", "called"),
    [
        ("procq.queue.jobs.waiting", Kind.GAUGE, "{job}", "procq_queue_jobs_waiting"),
        ("procq.queue.jobs.failed", Kind.COUNTER, "{job}", "procq_queue_jobs_failed_total"),
        ("process.cpu.time", Kind.COUNTER, "s", "process_cpu_time_seconds_total"),
        ("process.memory.usage", Kind.GAUGE, "By", "process_memory_usage_bytes"),
        ("procq.queue.busy", Kind.GAUGE, "1", "procq_queue_busy_ratio"),
        ("procq.seconds", Kind.GAUGE, "s", "procq_seconds"),
        ("messaging.process.duration", Kind.HISTOGRAM, "s", "messaging_process_duration_seconds"),
        ("procq.up", Kind.GAUGE, "", "procq_up"),
    ],
)
def test_names(name: str, kind: Kind, unit: str, called: str) -> None:
    assert name_of(Family(name, kind, unit, "")) == called


@pytest.mark.parametrize(
    ("value", "written"),
    [
        *((0, "0"), (3.0, "3"), (0.1, "0.1"), (1e-7, "1e-07"), (1 << 60, str(1 << 60)), (True, "1"), (False, "0")),
        *((inf, "+Inf"), (-inf, "-Inf"), (nan, "NaN")),
    ],
)
def test_numbers(value: float, written: str) -> None:
    assert render([gauge(value)]).splitlines()[-1] == f"procq_a_b {written}"


def test_what_is_strange_in_labels_and_help_is_escaped() -> None:
    page = render([gauge(1, ("queue", 'a"b\\n\nc'), ("x", "ü{},="))])
    assert page.splitlines()[-1] == 'procq_a_b{queue="a\\"b\\\\n\\nc",x="ü{},="} 1'
    assert parse(page).of("procq_a_b", queue='a"b\\n\nc', x="ü{},=") == 1
    assert render([gauge(1, help='one\ntwo \\ "3"')]).splitlines()[0] == '# HELP procq_a_b one\\ntwo \\\\ "3"'
