"""`procq restart --rolling` with real workers: a few at a time, and halted by the first that fails."""

from __future__ import annotations

import pytest

from tests.process.support.fixtures import Procqs
from tests.process.support.waiting import until

pytestmark = pytest.mark.process

MANIFEST = """\
queues:
  a:
    shell: yes
    command: test ! -e broken && exec sleep 1000
    workers: 4
    restart:
      backoff: 10s..30s
    update:
      batch: 1
      pause: 50ms
  b:
    command: sleep 1000
"""


def test_a_rolling_restart_replaces_every_worker_a_few_at_a_time(procqs: Procqs) -> None:
    procq = procqs(MANIFEST).start(5)
    before = procq.workers()
    assert "4 workers replaced in " in procq.command("restart", "--rolling", "a")
    after = procq.wait_running(5)
    assert {worker for worker in before if before[worker] == after[worker]} == {"b.1"}
    assert "a restarted, rolling, by hand" in procq.command("events")
    moves = [(event.kind, event.worker) for event in procq.client.events(follow=False)]
    moves = [move for move in moves if move[0] in {"started", "left"}][5:]
    left = [worker for kind, worker in moves if kind == "left"]
    assert sorted(map(str, left)) == ["a.1", "a.2", "a.3", "a.4"]
    assert moves == [(kind, worker) for worker in left for kind in ("left", "started")], "one after the other"


def test_a_rolling_restart_is_halted_by_a_worker_that_fails(procqs: Procqs) -> None:
    procq = procqs(MANIFEST).start(5)
    before = procq.workers("a")
    (procq.folder / "broken").touch()
    said = procq.command("restart", "--rolling", "a", code=1)
    assert "roll-out halted after 0 of 4: a." in said and "exit code 1" in said
    kept = {worker: stat for worker, stat in procq.workers("a").items() if before[worker] == stat}
    assert len(kept) == 3
    assert procq.queue("a").state == "replacing"
    (procq.folder / "broken").unlink()
    procq.command("start", "a")
    until(lambda: not before.items() & procq.wait_running(4, "a").items(), "the rest to be replaced")
    assert procq.queue("a").problem is None
