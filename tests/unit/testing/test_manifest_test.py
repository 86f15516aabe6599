"""`procq.testing.ManifestTest`, as its users use it."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from procq import ManifestError, NoSuchTarget
from procq.manifest import load_text
from procq.testing import (
    TOO_MANY_PROCESSES,
    ManifestTest,
    cannot_start,
    crashes,
    exits,
    hangs,
    runs,
)

TEXT = """
queues:
  emails:
    command: rq worker ${QUEUE}
    workers: 2
    stop:
      grace: 5s
  reports:
    command: rq worker reports
    restart:
      policy: on-failure
"""
ENV = {"QUEUE": "emails"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "procq.yaml"
    file.write_text(TEXT)
    return file


@pytest.fixture
def test(path: Path) -> Iterator[ManifestTest]:
    with ManifestTest(path, env=ENV) as test:
        yield test


def test_workers_run_at_the_first_look(test: ManifestTest) -> None:
    assert (test.running(), test.running("emails"), test.now) == (3, 2, 0.0)
    assert test.queue("emails").command == "rq worker ${QUEUE}"
    assert [worker.id for worker in test.workers("emails")] == ["emails.1", "emails.2"]


def test_a_crash_is_restarted_with_growing_delays(test: ManifestTest) -> None:
    test.script("emails.1", exits(1, after=5))
    test.advance(4.9)
    assert test.queue("emails").restarts == 0
    test.advance(0.2)
    assert (test.worker("emails.1").restarts, test.worker("emails.1").last_exit) == (1, "exit code 1")
    test.advance(60)
    # 5 s of life each, and delays of 0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, …
    assert test.queue("emails").restarts == test.worker("emails.1").restarts
    assert 8 <= test.queue("emails").restarts <= 10
    assert test.worker("emails.2").restarts == 0


def test_lives_follow_each_other_in_every_slot(test: ManifestTest) -> None:
    test.script("emails", crashes(signal.SIGSEGV, after=1), exits(3, after=1), runs())
    took = test.until(
        lambda: all(worker.restarts == 2 and worker.state == "running" for worker in test.workers("emails"))
    )
    assert took < 10
    assert [worker.last_exit for worker in test.workers("emails")] == ["exit code 3"] * 2
    test.advance(1000)
    assert test.queue("emails").restarts == 4


def test_what_is_told_more_exactly_goes_first(test: ManifestTest) -> None:
    test.script("*", exits(0, after=1))
    test.script("emails", runs())
    test.script("emails.2", cannot_start())
    test.advance(2)
    states = {worker.id: worker.state for worker in test.workers()}
    assert states == {"emails.1": "running", "emails.2": "waiting", "reports.1": "finished"}
    assert (test.queue("emails").state, test.queue("emails").running) == ("crashing", 1)


def test_a_lack_of_resources_passes(test: ManifestTest) -> None:
    test.script("reports", cannot_start(TOO_MANY_PROCESSES), runs())
    assert test.until(lambda: test.running("reports") == 1) < 5


def test_who_hangs_is_killed_after_its_grace(test: ManifestTest) -> None:
    test.script("emails", hangs())
    test.stop("emails")
    test.advance(4.9)
    assert [worker.state for worker in test.workers("emails")] == ["stopping"] * 2
    test.advance(0.2)
    assert [(worker.state, worker.last_exit) for worker in test.workers("emails")] == [("stopped", "SIGKILL")] * 2
    test.script("emails", runs(leaves_after=2))
    test.start("emails")
    assert test.running("emails") == 2
    test.scale("emails", 0)
    assert test.until(lambda: not test.workers("emails")) == pytest.approx(2)


def test_scaling_saving_and_restarting(test: ManifestTest) -> None:
    test.scale("emails", 5)
    assert test.running("emails") == 5
    assert (test.queue("emails").override, test.queue("emails").manifest_workers) == (5, 2)
    test.scale("emails", None)
    assert test.running("emails") == 2
    test.advance(1)
    before = test.worker("emails.1").generation
    test.save(TEXT.replace("workers: 2", "workers: 3"))
    assert test.running("emails") == 3
    assert test.worker("emails.1").generation == before
    test.restart("emails.1")
    test.until(lambda: test.worker("emails.1").state == "running")
    assert test.worker("emails.1").generation != before
    with pytest.raises(ManifestError):
        test.save("queues: 5\n")
    assert test.running("emails") == 3


def test_the_plan_says_what_saving_would_do(test: ManifestTest) -> None:
    plan = test.plan(TEXT.replace("workers: 2", "workers: 4"))
    assert [(change.queue, change.sign, change.started) for change in plan.changes] == [("emails", "~", 2)]
    assert test.running("emails") == 2
    assert test.plan(TEXT).changes == ()


def test_somebody_kills_a_worker(test: ManifestTest) -> None:
    assert test.running("emails") == 2
    test.kill("emails.1")
    test.advance(1)
    assert (test.running("emails"), test.worker("emails.1").last_exit) == (2, "SIGKILL, sender unknown")
    test.stop("emails.2")
    test.advance(1)
    with pytest.raises(ValueError, match=r"no process of emails\.2 to kill: it is stopped"):
        test.kill("emails.2")


def test_events_tell_what_happened_and_when(test: ManifestTest) -> None:
    test.script("reports", exits(0, after=7))
    test.advance(10)
    (end,) = (event for event in test.events() if event.kind == "exited")
    assert (end.worker, round(end.at, 3)) == ("reports.1", 7.0)


def test_a_manifest_that_is_an_object(path: Path) -> None:
    manifest = load_text(TEXT.encode(), path, ENV)
    test = ManifestTest(manifest)
    assert test.running("emails") == 2
    test.save(load_text(TEXT.replace("workers: 2", "workers: 1").encode(), path, ENV))
    assert test.running("emails") == 1


def test_mistakes_are_told(path: Path) -> None:
    with pytest.raises(ManifestError, match="QUEUE"):
        ManifestTest(path)
    test = ManifestTest(path, env=ENV)
    with pytest.raises(NoSuchTarget, match='Did you mean "emails"'):
        test.running("emial")
    with pytest.raises(NoSuchTarget):
        test.scale("emial", 1)
    with pytest.raises(ValueError, match=r"script\('emails', exits"):
        test.script("emails")
    with pytest.raises(ValueError, match="not a worker id"):
        test.worker("emails")
    with pytest.raises(ValueError, match="time does not go back"):
        test.advance(-1)
    with pytest.raises(ValueError, match="between 0 and"):
        test.scale("emails", -1)
    with pytest.raises(AssertionError, match=r"not within 60 s.*\n60\.000 s.*\nemails: steady, 2 of 2 running"):
        test.until(lambda: False, within=60)
    assert test.now == pytest.approx(60)


def test_a_script_that_was_never_played_is_a_mistake(path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="no worker played the script of emial; queues are: emails, reports"),
        ManifestTest(path, env=ENV) as test,
    ):
        test.script("emial", runs())
        assert test.running() == 3
    with pytest.raises(ZeroDivisionError), ManifestTest(path, env=ENV) as test:
        test.script("emial", runs())
        math.floor(1 / 0)


def test_a_replaced_control_plane_is_followed(test: ManifestTest) -> None:
    test.advance(1)
    test.rig.replace_control_plane()
    test.scale("emails", 3)
    assert test.running("emails") == 3
    assert [event.kind for event in test.events()][-1]
