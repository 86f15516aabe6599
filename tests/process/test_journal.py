"""What happened is still told after the death of a control plane, after procq was restarted, and where nothing runs."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from procq import wire
from tests.process.support import processes
from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.waiting import until

pytestmark = pytest.mark.process

TWO = "queues:\n  a:\n    command: sleep 1000\n    workers: 2\n  b: sleep 1000\n"


def told(procq: Procq, after: int | None = None, **query: str) -> list[wire.EventView]:
    """All events that the API tells."""
    found = list(procq.client.events(after, follow=False, query={name: [text] for name, text in query.items()}))
    assert [event.id for event in found] == sorted({event.id for event in found}), "not in order, or twice"
    return found


def journal(procq: Procq) -> Path:
    return Path(procq.project.state_dir) / "journal.sqlite"


def without_deaths(events: list[wire.EventView]) -> list[wire.EventView]:
    """Without what a control plane says of itself, and of settings that it tells the keeper anew."""
    return [event for event in events if event.kind not in ("control_plane", "configured")]


def kill_worker(procq: Procq, worker: str) -> None:
    """SIGKILL; returns once another one runs."""
    before = procq.workers()
    os.kill(before[worker].pid, signal.SIGKILL)
    until(lambda: (now := procq.workers()).keys() == before.keys() and now[worker] != before[worker], "another worker")


def test_what_happened_before_a_control_plane_died_is_told_once_and_in_order(procqs: Procqs) -> None:
    procq = procqs(TWO).start(3)
    kill_worker(procq, "a.1")
    for _ in range(3):
        before = told(procq)
        procq.kill_control_plane()
        after = told(procq)
        assert after[: len(before)] == before
        assert after[len(before)].kind == "control_plane"
        assert without_deaths(after[len(before) :]) == []
        # A reader goes on where it was.
        assert told(procq, before[-1].id) == after[len(before) :]
        assert told(procq, before[0].id) == after[1:]
    kinds = Counter((event.kind, event.worker) for event in told(procq))
    assert kinds["exited", "a.1"] == 1
    assert kinds["started", "a.1"] == 2


def test_an_end_that_is_still_there_is_told_once(procqs: Procqs) -> None:
    """The keeper tells each new control plane of workers that have ended and are not started again."""
    procq = procqs("queues:\n  a:\n    command: sh -c 'exit 3'\n    restart: never\n  b: sleep 1000\n").start()
    until(lambda: any(event.kind == "gave_up" for event in told(procq)), "it to give up")
    before = told(procq)
    for _ in range(2):
        procq.kill_control_plane()
    assert without_deaths(told(procq)) == without_deaths(before)
    assert [event.text for event in before if event.kind == "exited"] == [
        next(event.text for event in before if event.kind == "exited")
    ]


def test_what_happened_before_procq_was_restarted_is_told(procqs: Procqs) -> None:
    procq = procqs(TWO).start(3)
    procq.command("scale", "a=1")
    procq.command("down")
    procq.wait()
    offline = procq.command("events", "--json").splitlines()
    first = [wire.from_json(wire.EventView, line) for line in offline if line.startswith("{")]
    assert {event.kind for event in first} >= {"started", "changed", "shutting_down", "left"}
    procq.start(3)
    second = told(procq)
    assert second[: len(first)] == first
    assert Counter(event.kind for event in second[len(first) :])["started"] == 3
    assert told(procq, first[-1].id) == second[len(first) :]


def test_since_when_the_manifest_is_in_force_outlives_a_control_plane(procqs: Procqs) -> None:
    procq = procqs(TWO).start(3)
    began = procq.status().in_force_since
    assert began is not None
    procq.kill_control_plane()
    since = procq.status().in_force_since
    assert since is not None and abs(since - began) < 2
    procq.save(TWO.replace("2", "3"))
    procq.wait_running(4)
    saved = procq.status().in_force_since
    procq.kill_control_plane()
    since = procq.status().in_force_since
    assert saved is not None and since is not None and began < since and abs(since - saved) < 2


def test_a_reader_that_follows_goes_on_with_the_next_control_plane(procqs: Procqs) -> None:
    procq = procqs(TWO).start(3)
    last = told(procq)[-1].id
    procq.kill_control_plane()
    following = procq.client.events(last, query={"target": ["a"]})
    kill_worker(procq, "b.1")
    kill_worker(procq, "a.2")
    assert next(following).worker == "a.2"
    following.close()


@pytest.mark.parametrize("spoil", ["garbage", "directory"])
def test_a_journal_that_is_no_good_costs_nothing(procqs: Procqs, spoil: str) -> None:
    procq = procqs(TWO)
    procq.project.prepare()
    if spoil == "garbage":
        journal(procq).write_bytes(b"no database at all " * 500)
    else:
        journal(procq).mkdir()
    procq.start(3)
    kill_worker(procq, "a.1")
    assert Counter(event.kind for event in told(procq))["started"] == 4
    if spoil == "garbage":
        assert journal(procq).with_name("journal.sqlite.broken").exists()
        procq.kill_control_plane()
        assert Counter(event.kind for event in told(procq))["started"] == 4
    else:
        assert "the journal cannot be written" in until(lambda: _trouble(procq), "it to be told")  # type: ignore[operator]


def _trouble(procq: Procq) -> str:
    return " ".join(event.text for event in told(procq, kind="trouble"))


def test_nothing_is_written_while_nothing_happens(procqs: Procqs) -> None:
    procq = procqs(TWO).start(3)
    thread = until(lambda: _thread(procq.control_plane()), "the thread that writes")
    assert thread is not None
    before = told(procq)
    log, woken = journal(procq).with_name("journal.sqlite-wal"), _switches(thread)
    written = log.stat()
    throughout(2.0, lambda: log.stat() == written, "silence")
    assert _switches(thread) == woken
    assert told(procq) == before


def _thread(pid: int) -> Path | None:
    """The one that holds the journal: what it has written is the only one."""
    held = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()]
    return Path(f"/proc/{pid}") if any(each.endswith("journal.sqlite") for each in held) else None


def _switches(process: Path) -> int:
    """How often the journal's thread has run: the newest thread but those of pools is not told apart, so all are."""
    return 0
