"""The example of scaling does what its README says: workers come with the jobs, and go after them."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Iterator

import pytest

from procq import wire
from tests.examples.running import Running, run_example
from tests.process.support.waiting import until

pytestmark = [pytest.mark.examples, pytest.mark.process]
JOBS = 120
PATIENCE = 60.0  # seconds; only ever spent by a test that fails


@pytest.fixture
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with run_example("scaling", tmp_path_factory.mktemp("s")) as running:
        (running.folder / "spool").mkdir()
        running.wait_for("its head line", lambda lines: any(line.startswith("procq ") for line in lines))
        yield running


def send(demo: Running, first: int, last: int, takes: float) -> None:
    for number in range(first, last + 1):
        beside = demo.folder / "spool" / f"{number}.tmp"
        beside.write_text(f"{takes}")
        beside.rename(beside.with_suffix(".job"))


def queue(demo: Running) -> wire.QueueView:
    return wire.from_json(wire.StatusView, demo.command("status", "--json")).queues[0]


def left(demo: Running) -> list[str]:
    return sorted(path.name for path in (demo.folder / "spool").iterdir() if not path.name.startswith("."))


def test_workers_come_with_the_jobs_and_go_after_them(demo: Running) -> None:
    until(lambda: queue(demo).jobs_waiting == 0, "an answer of the source", PATIENCE)
    assert queue(demo).running == 0
    send(demo, 1, JOBS, 0.3)
    until(lambda: queue(demo).running > 1, "workers", PATIENCE)
    until(lambda: not left(demo), "the last job", PATIENCE)
    until(lambda: queue(demo).desired == queue(demo).running == 0, "nobody", PATIENCE)
    done = queue(demo)
    assert (done.jobs, done.jobs_failed) == (JOBS, 0)
    why = demo.command("why", "resize")
    assert "0 workers" in why
    assert "→" in why
    told = demo.command("events")
    assert "0 →" in told
    assert "SIGKILL" not in told
    assert demo.interrupt() == 0
    assert demo.left_behind() == []


def test_a_source_that_fails_stops_nobody(demo: Running) -> None:
    spool, away = demo.folder / "spool", demo.folder / "away"
    send(demo, 1, 3, 30.0)
    until(lambda: queue(demo).busy == 3, "three jobs", PATIENCE)
    before = demo.workers("resize")
    spool.rename(away)
    until(lambda: queue(demo).source_trouble, "the trouble to be told", PATIENCE)
    assert "no such directory" in (queue(demo).source_trouble or "")
    assert demo.workers("resize") == before
    away.rename(spool)
    until(lambda: queue(demo).source_trouble is None, "an answer again", PATIENCE)
    assert demo.workers("resize") == before


def test_saving_another_objective_needs_no_restart(demo: Running) -> None:
    send(demo, 1, 2, 30.0)
    until(lambda: queue(demo).busy == 2, "two jobs", PATIENCE)
    before = demo.workers("resize")
    manifest = demo.folder / "procq.yaml"
    manifest.write_text(manifest.read_text().replace("workers: 0..8", "workers: 4..8").replace("wait: 3s", "wait: 1s"))
    until(lambda: queue(demo).running == 4, "the new least", PATIENCE)
    after = demo.workers("resize")
    assert {worker: after[worker] for worker in before} == before
    assert queue(demo).wait_objective == 1.0


def test_a_control_plane_that_is_killed_costs_nobody(demo: Running) -> None:
    send(demo, 1, 3, 40.0)
    until(lambda: queue(demo).busy == 3, "three jobs", PATIENCE)
    before = demo.workers("resize")
    status = wire.from_json(wire.StatusView, demo.command("status", "--json"))
    os.kill(status.control_plane_pid, signal.SIGKILL)
    until(lambda: queue(demo).busy == 3 and queue(demo).jobs_waiting == 0, "another one that knows all", PATIENCE)
    send(demo, 4, 6, 0.1)
    until(lambda: queue(demo).jobs == 3, "jobs that came after it", PATIENCE)
    after = demo.workers("resize")
    assert {worker: after[worker] for worker in before} == before


def test_what_was_lived_through_can_be_replayed(demo: Running) -> None:
    until(lambda: queue(demo).jobs_waiting == 0, "an answer of the source", PATIENCE)
    words = "simulate", "--load", "history:resize", "--job-time", "500ms", "--wait", "10s", "--json"
    numbers = itertools.count(1)

    def replayed() -> bool:
        number = next(numbers)
        send(demo, number, number, 0.1)
        try:
            found: int = json.loads(demo.command(*words))["jobs"]
        except AssertionError:  # the journal has no history yet: it keeps a sample in ten seconds
            return False
        return found >= 5

    until(replayed, "samples in the journal", PATIENCE)
