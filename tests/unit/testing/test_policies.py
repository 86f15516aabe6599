"""Policies of a manifest, tested as a user would: order of starts, giving up, replacement in batches."""

from __future__ import annotations

from pathlib import Path

import pytest

from procq.testing import ManifestTest, exits, runs

TEXT = """
queues:
  redis: redis-server --port 7000
  emails:
    command: rq worker emails
    workers: 8
    after: redis
    update:
      batch: 2
      pause: 5s
    restart:
      give_up: 3 in 60s
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "procq.yaml"
    file.write_text(TEXT)
    return file


def test_a_queue_waits_for_the_one_before_it(path: Path) -> None:
    with ManifestTest(path) as test:
        test.script("redis", runs(boot=3))
        test.advance(2.9)
        assert (test.running("redis"), test.running("emails")) == (0, 0)
        assert test.queue("emails").problem == "waits for redis"
        assert test.until(lambda: test.running("emails") == 8) < 5


def test_a_queue_that_fails_gives_up(path: Path) -> None:
    with ManifestTest(path) as test:
        test.until(lambda: test.running() == 9)
        test.script("emails", exits(1, after=1))
        test.kill("emails.3")
        test.until(lambda: test.worker("emails.3").state == "failed", within=60)
        assert "gave up" in (test.queue("emails").problem or "")
        test.script("emails", runs())
        test.start("emails.3")
        assert test.until(lambda: test.running("emails") == 8, within=5) < 1


def test_a_new_command_replaces_two_at_a_time(path: Path) -> None:
    with ManifestTest(path) as test:
        test.until(lambda: test.running() == 9)
        test.advance(60)
        before = {worker.id: worker.generation for worker in test.workers("emails")}
        test.save(TEXT.replace("rq worker emails", "rq worker --fast emails"))
        least = 8
        while {worker.id: worker.generation for worker in test.workers("emails")}.items() & before.items():
            least = min(least, test.running("emails"))
            test.advance(0.05)
            assert test.now < 200
        assert least >= 6
        assert test.now - 60 > 10


def test_a_rolling_restart_and_one_at_once(path: Path) -> None:
    with ManifestTest(path) as test:
        test.until(lambda: test.running() == 9)
        test.advance(60)
        test.restart("emails", rolling=True)
        assert test.running("emails") >= 6
        test.until(lambda: test.queue("emails").state == "steady", within=300)
        test.restart("emails")
        assert test.running("emails") == 0
        test.until(lambda: test.running("emails") == 8)
