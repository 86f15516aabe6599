"""Every number that is told, against a state that is known to the last one."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from procq.endings import End, ExitStatus
from procq.engine.view import StateView
from procq.intent import Adjustment, Intent
from procq.meter import Load
from procq.model import WorkerId
from procq.pace import Pace
from procq.plan.restarted import Restarted
from procq.rules import ScaleRule
from procq.scaling.standing import Standing
from procq.state import (
    Backoff,
    Draining,
    Ended,
    Finished,
    Jobs,
    Observed,
    QueueState,
    Report,
    Resting,
    Running,
    Starting,
    Stopping,
    WorkerState,
)
from procq.telemetry.exposition import name_of, render
from procq.telemetry.histogram import Buckets
from procq.telemetry.measures import CATALOGUE, Family, Itself, Kind, families
from procq.telemetry.processes import Process
from procq.telemetry.tally import Cause, Counts, Limit, QueueCounts
from procq.telemetry.volume import Volume
from procq.views import About
from procq.worker.counting import BOUNDS
from tests.exposition import Page, parse
from tests.queues import EMAILS_1, EMAILS_2, manifest, queue

END = End(ExitStatus(1), 5.0, 1.0)
OWN = (Process("control_plane", 7.0, 60_000_000, 40, 6, 60.25), Process("keeper", 2.5, 4_000_000, 31, 5, 3600.5))
ITSELF = Itself("1.2.3", "shop", 3600.5, False, {"ok": 4, "refused": 2}, OWN)
SLOTS: dict[int, WorkerState] = {
    1: Running(1, "f", 11, 1.0, None, ready=1.5),
    2: Running(2, "f", 12, 1.0, None, ready=1.5),
    3: Starting(3, "f", 9.0, None),
    4: Stopping(4, "f", 14, 1.0, 20.0, "why"),
    5: Draining(5, "f", END, stuck="sleep (7) in D"),
    6: Backoff(6, "f", END, 12.0, 2),
    7: Ended(7, "f", END),
    8: Finished(8, "f", END, Resting.GAVE_UP),
    9: Finished(9, "f", END, Resting.COMPLETED),
}
REPORTS = {
    1: Report(1, work=Jobs(10, 1, 2, 30.0, (0, 4, 6)), busy=2),
    2: Report(2, work=Jobs(5, 0, None, 1.5, (5,)), busy=0),
}
PAST = Jobs(100, 3, 1, 400.25, (0,) * 21 + (7, 9))


def view() -> StateView:
    """Two queues of the manifest, one of which scales and speaks, and one that is being emptied."""
    emails = replace(queue("emails", 2), most=12, scale=ScaleRule())
    intent = Intent(manifest(emails, queue("reports", 1)), targets={"emails": 9})
    states = {
        "emails": QueueState(SLOTS, reports=REPORTS, past=PAST),
        "old": QueueState({1: Stopping(20, "f", 30, 1.0, 20.0, "why")}),
    }
    restarts = {"emails": {Restarted.KILLED: 6, Restarted.LIMIT_AGE: 2}}
    return StateView(Observed(10.0, states), intent, True, 3, 77, 20, restarts=restarts)


STANDING = Standing(
    waiting=42.0, running=1, delayed=7, oldest=12.5, age=0.75, source="rq", trouble="refused", objective=30.0
)
ABOUT = About(
    loads={EMAILS_1: Load(0.5, 4096, 9.0), EMAILS_2: Load(0.1, 8192, 1.0)},
    paces={"emails": Pace(2.0, 0.625)},
    standings={"emails": STANDING},
)
COUNTS = Counts(
    {
        "emails": QueueCounts(
            {Cause.FAILED: 5, Cause.LIMIT: 1},
            {("demand", Limit.MOST): 20, ("retention", Limit.NONE): 3},
            Buckets((0.01, 1.0), (3, 1, 0), 0.5),
            Buckets((0.01, 1.0), (0, 0, 2), 7.0),
        )
    },
    Buckets((0.001,), (8, 1), 0.25),
    {EMAILS_1: 3.25, EMAILS_2: 0.0},
    {"emails": Volume(1_000_000, 20_000, {"console": 4096, "file": 0, "reader": 12})},
)


@pytest.fixture(scope="module")
def found() -> list[Family]:
    return families(view(), ABOUT, ITSELF, COUNTS)


@pytest.fixture(scope="module")
def page(found: list[Family]) -> Page:
    return parse(render(found))


EXPECTED = {
    'procq_process_cpu_time_seconds_total{process="keeper"}': 2.5,
    'procq_process_cpu_time_seconds_total{process="control_plane"}': 7,
    'procq_process_memory_usage_bytes{process="keeper"}': 4_000_000,
    'procq_process_file_descriptors{process="keeper"}': 31,
    'procq_process_threads{process="control_plane"}': 6,
    'procq_process_uptime_seconds{process="control_plane"}': 60.25,
    "procq_up": 1,
    'procq_info{version="1.2.3",project="shop"}': 1,
    "procq_uptime_seconds": 3600.5,
    "procq_shutting_down": 0,
    "procq_control_plane_starts_total": 3,
    "procq_manifest_valid": 0,
    'procq_manifest_reloads_total{result="ok"}': 4,
    'procq_manifest_reloads_total{result="refused"}': 2,
    "procq_control_plane_lag_seconds_count": 9,
    "procq_control_plane_lag_seconds_sum": 0.25,
}
OF_EMAILS = {
    'procq_queue_workers{state="running"}': 2,
    'procq_queue_workers{state="starting"}': 1,
    'procq_queue_workers{state="stopping"}': 1,
    'procq_queue_workers{state="unkillable"}': 1,
    'procq_queue_workers{state="waiting"}': 2,
    'procq_queue_workers{state="stopped"}': 0,
    'procq_queue_workers{state="finished"}': 1,
    'procq_queue_workers{state="failed"}': 1,
    "procq_queue_workers_desired": 9,
    "procq_queue_workers_min": 2,
    "procq_queue_workers_max": 12,
    "procq_queue_workers_busy": 1,
    "procq_queue_busy_ratio": 0.625,
    "procq_queue_paused": 0,
    'procq_queue_restarts_total{reason="killed"}': 6,
    'procq_queue_restarts_total{reason="limit_age"}': 2,
    'procq_queue_restarts_total{reason="failed"}': 0,
    'procq_queue_restarts_total{reason="asked"}': None,
    'procq_queue_exits_total{cause="failed"}': 5,
    'procq_queue_exits_total{cause="limit"}': 1,
    'procq_queue_spawn_duration_seconds_bucket{le="0.01"}': 3,
    'procq_queue_spawn_duration_seconds_bucket{le="1"}': 4,
    "procq_queue_spawn_duration_seconds_sum": 0.5,
    'procq_queue_boot_duration_seconds_bucket{le="1"}': 0,
    'procq_queue_boot_duration_seconds_bucket{le="+Inf"}': 2,
    'process_cpu_time_seconds_total{slot="1"}': 3.25,
    'process_cpu_time_seconds_total{slot="2"}': 0,
    'process_memory_usage_bytes{slot="1"}': 4096,
    'process_memory_usage_bytes{slot="2"}': 8192,
    "procq_queue_jobs_waiting": 42,
    "procq_queue_jobs_delayed": 7,
    "procq_queue_jobs_running": 2,
    "procq_queue_wait_oldest_seconds": 12.5,
    "procq_queue_wait_objective_seconds": 30,
    "procq_queue_jobs_finished_total": 115,
    "procq_queue_jobs_failed_total": 4,
    "procq_queue_jobs_retried_total": 3,
    'messaging_process_duration_seconds_bucket{le="0.001"}': 5,
    'messaging_process_duration_seconds_bucket{le="0.002"}': 9,
    'messaging_process_duration_seconds_bucket{le="0.005"}': 15,
    'messaging_process_duration_seconds_bucket{le="5000"}': 15,
    'messaging_process_duration_seconds_bucket{le="10000"}': 22,
    'messaging_process_duration_seconds_bucket{le="+Inf"}': 31,
    "messaging_process_duration_seconds_sum": 431.75,
    "messaging_process_duration_seconds_count": 31,
    "procq_queue_output_bytes_total": 1_000_000,
    "procq_queue_output_lines_total": 20_000,
    'procq_queue_output_dropped_bytes_total{sink="console"}': 4096,
    'procq_queue_output_dropped_bytes_total{sink="file"}': 0,
    'procq_queue_output_dropped_bytes_total{sink="reader"}': 12,
    "procq_queue_source_age_seconds": 0.75,
    "procq_queue_source_failing": 1,
    'procq_queue_scaling_decisions_total{winner="demand",limit="max"}': 20,
    'procq_queue_scaling_decisions_total{winner="retention",limit="none"}': 3,
}


def test_each_number(page: Page) -> None:
    assert {key: page.at(key) for key in EXPECTED} == EXPECTED
    assert {key: page.at(key, queue="emails") for key in OF_EMAILS} == OF_EMAILS


def test_nothing_is_missing_above(found: list[Family], page: Page) -> None:
    """Every family that there is has a point in this state, and stands in the table of what is expected."""
    tested = {*EXPECTED, *OF_EMAILS}
    for family in found:
        assert family.points, f"{family.name} has nothing to show here"
        assert any(name.startswith(name_of(family)) for name in tested), f"{family.name} is not tested"


def test_what_nobody_has_said_is_not_nothing(page: Page) -> None:
    """A queue that neither speaks nor scales has no number of jobs, and no 0 either."""
    names = {name for name, labels in page.samples if ("queue", "reports") in labels}
    always = {"workers", "workers_desired", "workers_min", "workers_max", "paused", "restarts_total"}
    assert names == {f"procq_queue_{name}" for name in always}
    assert page.of("procq_queue_workers_max", queue="reports") == 1


def test_a_queue_that_leaves_is_told_until_it_is_gone(page: Page) -> None:
    assert page.of("procq_queue_workers", queue="old", state="stopping") == 1
    assert page.of("procq_queue_workers_desired", queue="old") == 0
    assert page.of("procq_queue_workers_max", queue="old") is None


def test_a_source_that_answers_and_a_pause() -> None:
    before = view()
    assert before.intent is not None
    paused = replace(before.intent, adjustments={"emails": Adjustment(paused=True)})
    about = replace(ABOUT, standings={"emails": replace(STANDING, trouble="")})
    page = parse(render(families(replace(before, intent=paused), about, ITSELF)))
    assert page.of("procq_queue_source_failing", queue="emails") == 0
    assert page.of("procq_queue_paused", queue="emails") == 1


def test_before_the_first_snapshot_there_is_little_to_say() -> None:
    page = parse(render(families(StateView(Observed()), About(), Itself("1", "shop", 0.5))))
    assert page.of("procq_up") == 0
    assert page.of("procq_manifest_valid") == 1
    assert page.of("procq_manifest_reloads_total", result="ok") == 0
    assert not [name for name, _ in page.samples if "queue" in name]


def test_places_that_another_version_of_a_worker_counts_besides_are_longer_than_the_last_bound() -> None:
    state = QueueState({}, past=Jobs(4, 0, 0, 9.0, (0,) * len(BOUNDS) + (1, 1, 2)))
    before = replace(view(), observed=Observed(10.0, {"emails": state}))
    page = parse(render(families(before, About(), ITSELF)))
    of = {
        bound: page.of("messaging_process_duration_seconds_bucket", queue="emails", le=bound)
        for bound in ("10000", "+Inf")
    }
    assert of == {"10000": 0, "+Inf": 4}


# --- the catalogue --------------------------------------------------------------------------------------------------


def test_labels_are_those_that_are_announced(found: list[Family]) -> None:
    for measure, family in zip(CATALOGUE, found, strict=True):
        for point in family.points:
            assert tuple(key for key, _ in point.labels) == measure.labels, family.name
            assert isinstance(point.value, Buckets) == (family.kind is Kind.HISTOGRAM), family.name
            assert not isinstance(point.value, bool), family.name


def test_names_follow_the_conventions() -> None:
    names = [measure.family.name for measure in CATALOGUE]
    assert len(set(names)) == len(names)
    assert len({name_of(measure.family) for measure in CATALOGUE}) == len(names)
    for measure in CATALOGUE:
        family = measure.family
        assert re.fullmatch(r"(procq|process|messaging)(\.[a-z_]+)+", family.name)
        assert re.fullmatch(r"|1|s|By|\{[a-z_]+\}", family.unit), family.name
        assert family.help.endswith("."), family.name


def test_slots_and_queues_alone_bound_how_many_points_there_are() -> None:
    crowd = {slot: Running(slot, "f", slot, 1.0, None, ready=1.0) for slot in range(1, 1001)}
    about = About({WorkerId("emails", slot): Load(0.5, 1) for slot in crowd})
    before = replace(view(), observed=Observed(10.0, {"emails": QueueState(crowd)}))
    numbers = {each.name: len(each.points) for each in families(before, about, ITSELF)}
    assert numbers.pop("process.memory.usage") == 1000
    assert max(numbers.values()) == 16, "two queues in eight states"
