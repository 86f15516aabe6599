"""What happened is still told after the death of a control plane, after procq was restarted, and where nothing runs."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from procq import wire
from procq.journal.reader import events
from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.waiting import throughout, until

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


def kill_control_plane(procq: Procq) -> None:
    """SIGKILL once the last event is written, which takes some milliseconds: those of the last moment are lost."""
    last = told(procq)[-1].id
    until(lambda: [event.id for event in events(journal(procq), newest=True)[:1]] == [last], "the journal to have it")
    procq.kill_control_plane()


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
        kill_control_plane(procq)
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
        kill_control_plane(procq)
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
    kill_control_plane(procq)
    since = procq.status().in_force_since
    assert since is not None and abs(since - began) < 2
    procq.save(TWO.replace("2", "3"))
    procq.wait_running(4)
    saved = procq.status().in_force_since
    kill_control_plane(procq)
    since = procq.status().in_force_since
    assert saved is not None and since is not None and began < since and abs(since - saved) < 2


def test_a_reader_that_follows_goes_on_with_the_next_control_plane(procqs: Procqs) -> None:
    procq = procqs(TWO).start(3)
    last = told(procq)[-1].id
    kill_control_plane(procq)
    following = procq.client.events(last, query={"target": ["a"], "kind": ["exited"]})
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
        kill_control_plane(procq)
        assert Counter(event.kind for event in told(procq))["started"] == 4
    else:
        assert "the journal cannot be written" in (until(lambda: _trouble(procq), "it to be told") or "")


def _trouble(procq: Procq) -> str:
    return " ".join(event.text for event in told(procq, kind="trouble"))


def test_nothing_is_written_while_nothing_happens(procqs: Procqs) -> None:
    procq = procqs(TWO).start(3)
    log, before = journal(procq).with_name("journal.sqlite-wal"), told(procq)
    written = log.stat()
    throughout(2.0, lambda: log.stat() == written, "silence")
    assert told(procq) == before


def test_events_are_chosen_and_shown_also_by_a_file_of_the_flight_recorder(procqs: Procqs) -> None:
    procq = procqs(TWO).start(3)
    kill_worker(procq, "a.1")
    kill_control_plane(procq)
    kill_worker(procq, "b.1")
    shown = procq.command("events", "a*", "--kind", "crashed,started", "--since", "1h", "--json").splitlines()
    chosen = [wire.from_json(wire.EventView, line) for line in shown]
    assert [(event.worker, event.kind) for event in chosen if event.worker == "a.1"] == [
        ("a.1", "started"),
        ("a.1", "exited"),
        ("a.1", "started"),
    ]
    assert {event.queue for event in chosen} == {"a"}
    assert procq.command("events", "-n", "1", "--kind", "exited", "--json").count("b.1") >= 1
    assert "no queue and no worker" in procq.command("events", "c", code=1)
    assert "no kind of event" in procq.command("events", "--kind", "exitd", code=64)
    assert procq.command("events", "--until", "1h") == ""
    for name in ("flight", "flight.gz"):
        procq.command("events", "--dump", name)
        assert (procq.folder / name).stat().st_mode & 0o777 == 0o600
        again = procq.command("events", "--from", name, "a*", "--kind", "crashed,started", "--json").splitlines()
        assert again == shown
    assert len((procq.folder / "flight").read_bytes()) > 3 * len((procq.folder / "flight.gz").read_bytes())


def test_no_secret_is_in_a_file_of_the_flight_recorder(procqs: Procqs) -> None:
    """One in the environment of procq, one in that of a worker, one in the address of a source that fails."""
    procq = procqs(
        "queues:\n"
        "  a:\n    command: sleep 1000\n    env:\n      TOKEN: canary-of-a-worker\n"
        "  b:\n    command: no-such-program\n"
        "  c:\n    command: sleep 1000\n    workers: 1..3\n"
        "    source: redis-list+redis://user:canary-of-a-source@127.0.0.1:9/0?key=jobs\n"
    )
    procq.environment["SECRET"] = "canary-of-procq"
    procq.start(2)
    until(lambda: procq.queue("c").source_trouble, "the source to fail")
    procq.save(procq.manifest.read_text().replace("sleep 1000", "sleep 1001") + "  d: [\n")
    until(lambda: procq.status().manifest_error, "the manifest to be refused")
    procq.command("events", "--dump", "flight")
    text = (procq.folder / "flight").read_text()
    assert {json.loads(line)["record"] for line in text.splitlines()} >= {"head", "status", "event"}
    assert "reload_failed" in text and "start_failed" in text
    assert "canary" not in text
    for file in journal(procq).parent.glob("journal.sqlite*"):
        assert b"canary" not in file.read_bytes()


@pytest.mark.parametrize(("option", "frames"), [("-v", False), ("--debug", True)])
def test_spawns_signals_and_decisions_are_told_where_that_is_wanted(procqs: Procqs, option: str, frames: bool) -> None:
    procq = procqs(TWO)
    procq.environment["SECRET"] = "canary"
    procq.command("up", "-d", option)
    procq.wait_running(3)
    procq.command("stop", "b.1")
    procq.command("down")
    said = Path(procq.project.log_file).read_text()
    assert "procq         · spawn a.1 (" in said
    assert "executes, pid" in said
    assert "procq         · stop b.1 (" in said
    assert ("→ SpawnWorker worker=a.1" in said) == frames
    assert ("← Executing worker=a.1" in said) == frames
    assert "canary" not in said
