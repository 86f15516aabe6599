"""`procq up --wait` and `--dry-run`, with real workers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.waiting import until

pytestmark = pytest.mark.process

GOOD = "queues:\n  a:\n    command: sleep 1000\n    workers: 3\n  once:\n    command: 'true'\n    restart: never\n"
MISSING = "  c: no-such-program-anywhere\n"
FAILING = "  d:\n    command: 'false'\n    restart:\n      backoff: 10s..30s\n"


@pytest.fixture
def detached(procqs: Procqs) -> Iterator[Callable[[str], Procq]]:
    """Makes projects that are run in the background, and ends them."""
    made: list[Procq] = []

    def make(manifest: str) -> Procq:
        made.append(procqs(manifest))
        return made[-1]

    yield make
    for procq in made:
        procq.command("down", "--now")


def test_up_wait_returns_when_every_worker_runs(detached: Callable[[str], Procq]) -> None:
    procq = detached(GOOD)
    said = procq.command("up", "--wait")
    assert "3 workers started in " in said
    assert "once.1   finished   exit code 0" in said
    before = procq.workers()
    assert sorted(before) == ["a.1", "a.2", "a.3"]
    # Where it runs already it is waited for, and what was stopped by hand is not.
    procq.command("stop", "a.2")
    assert "2 workers running in " in procq.command("up", "-d", "--wait=20s")
    assert procq.workers() == {worker: stat for worker, stat in before.items() if worker != "a.2"}
    assert "already running" in procq.command("up", "-d", code=1)


def test_up_wait_fails_and_says_what_failed(detached: Callable[[str], Procq]) -> None:
    procq = detached(GOOD + MISSING + FAILING)
    said = procq.command("up", "--wait", code=1)
    assert "3 workers started in " in said
    assert "c.1   " in said and '"no-such-program-anywhere" not found in the PATH' in said
    assert "d.1   waiting   exit code 1" in said
    assert len(procq.workers()) == 3, "what runs goes on running"


def test_up_wait_waits_for_waves_and_tells_who_gave_up(detached: Callable[[str], Procq]) -> None:
    procq = detached(
        "queues:\n  redis: sleep 1000\n  web:\n    command: sleep 1000\n    workers: 3\n    after: redis\n"
        "  bad:\n    command: 'false'\n    restart:\n      give_up: 2 in 10s\n      backoff: 1ms..2ms\n"
    )
    procq.command("up", "-d")
    until(lambda: procq.queue("bad").state == "failing", "the end of the attempts")
    said = procq.command("up", "--wait", code=1)
    assert "4 workers running in " in said
    assert "bad.1   failed   gave up after 2 in 10s: exit code 1" in said


def test_a_dry_run_starts_nothing_and_shows_what_up_does(detached: Callable[[str], Procq]) -> None:
    procq = detached(GOOD)
    plan = json.loads(procq.command("up", "--dry-run", "--json", code=2))
    assert {change["queue"]: change["started"] for change in plan["changes"]} == {"a": 3, "once": 1}
    assert "is not running" in procq.command("status", code=3)
    procq.command("up", "-d")
    assert "2 queues unchanged" in procq.command("up", "--dry-run")
    procq.replace(GOOD.replace("workers: 3", "workers: 1"))
    draft = procq.folder / "draft.yaml"
    draft.write_text(GOOD.replace("1000", "2000"))
    said = procq.command("plan", "draft.yaml", code=2)
    assert "- sleep 1000" in said and "+ sleep 2000" in said


def test_up_wait_waits_for_a_roll_out_and_fails_where_that_halts(detached: Callable[[str], Procq]) -> None:
    text = "queues:\n  w:\n    command: sleep 1001\n    workers: 3\n    ready:\n      delay: 200ms\n"
    procq = detached(text)
    procq.command("up", "--wait")
    before = procq.workers()
    assert "3 workers running in " in procq.command("up", "--wait")
    procq.save(text.replace("1001", "1002"))
    until(lambda: procq.queue("w").state == "replacing", "the roll-out")
    assert "3 workers running in " in procq.command("up", "--wait")
    assert not {w.pid for w in before.values()} & {w.pid for w in procq.workers().values()}
    procq.save(text.replace("sleep 1001", "sh -c 'exit 3'"))
    until(lambda: procq.queue("w").state == "replacing", "the roll-out")
    assert "roll-out halted" in procq.command("up", "--wait", code=1)
