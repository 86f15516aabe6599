"""Ready workers are asked whether they are well: real servers, commands and connections."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable

import pytest

from procq import wire
from tests.process.support.fixtures import Procqs
from tests.process.support.project import Procq
from tests.process.support.serving import SERVER, asked, free_ports
from tests.process.support.waiting import throughout, until

pytestmark = pytest.mark.process

LONG = 1.2
"""Seconds in which somebody who is asked every 100 ms has been asked again and again."""


def manifest(health: str, number: int, workers: int = 2, every: str = "100ms", failures: int = 3) -> str:
    return f"""\
defaults:
  restart:
    backoff: 10ms..20ms
queues:
  server:
    shell: yes
    command: {sys.executable} {SERVER} {number}$PROCQ_SLOT
    workers: {workers}
    ready:
      http: http://127.0.0.1:{number}{{slot}}/healthz
    health:
      {health}
      every: {every}
      timeout: 2s
      failures: {failures}
"""


def up(procqs: Procqs, text: str, workers: int = 2) -> Procq:
    made = procqs(text)
    (made.folder / "open").touch()
    return made.start(workers)


def events(procq: Procq, kind: str) -> list[wire.EventView]:
    return [event for event in procq.client.events(0, follow=False) if event.kind == kind]


def replaced(procq: Procq, worker: str, before: int) -> bool:
    found = procq.workers().get(worker)
    return found is not None and found.pid != before


@pytest.mark.parametrize("way", ["http", "command"])
def test_who_answers_badly_so_many_times_in_a_row_is_replaced_and_nobody_else(procqs: Procqs, way: str) -> None:
    number = free_ports(2)
    url = f"http: http://127.0.0.1:{number}{{slot}}/healthz"
    command = "command:\n        - /bin/sh\n        - -c\n        - echo looked; test ! -e sick.$PROCQ_SLOT"
    procq = up(procqs, manifest(url if way == "http" else command, number))
    before = procq.workers()
    throughout(LONG, lambda: procq.workers() == before, "being well")
    (procq.folder / "sick.2").touch()
    until(lambda: events(procq, "condemned"), "somebody to be found unwell")
    (procq.folder / "sick.2").unlink()
    until(lambda: replaced(procq, "server.2", before["server.2"].pid), lambda: f"another one: {procq.status()}")
    assert procq.workers()["server.1"] == before["server.1"]
    assert {event.worker for event in events(procq, "condemned")} == {"server.2"}
    detail = events(procq, "condemned")[0].text
    last = f"http 503 from http://127.0.0.1:{number}2/healthz" if way == "http" else "ended with exit code 1: looked"
    assert last in detail
    assert "3 times in a row" in detail
    # It was asked to leave before it was killed.
    until(lambda: f"2 {before['server.2'].pid}" in (procq.folder / "left").read_text(), "a graceful end")


def test_who_does_not_answer_in_time_is_not_well(procqs: Procqs) -> None:
    number = free_ports()
    text = manifest(f"http: http://127.0.0.1:{number}{{slot}}/healthz", number, 1, failures=1)
    procq = up(procqs, text.replace("timeout: 2s", "timeout: 200ms"), 1)
    before = procq.workers()["server.1"].pid
    (procq.folder / "mute").touch()
    until(lambda: events(procq, "condemned"), "an answer to be missed")
    (procq.folder / "mute").unlink()
    until(lambda: replaced(procq, "server.1", before), "another one")
    assert "no answer within 200ms" in events(procq, "condemned")[0].text


def test_faults_56_a_new_worker_does_not_inherit_what_the_old_one_answered(procqs: Procqs) -> None:
    number = free_ports()
    procq = up(procqs, manifest(f"http: http://127.0.0.1:{number}{{slot}}/healthz", number, 1, failures=1), 1)
    for turn in range(1, 4):
        before = procq.workers()["server.1"].pid
        (procq.folder / "sick").touch()
        until(lambda turn=turn: len(events(procq, "condemned")) == turn, "it to be found unwell")  # type: ignore[misc]
        (procq.folder / "sick").unlink()
        until(lambda before=before: replaced(procq, "server.1", before), "another one")  # type: ignore[misc]
    after = procq.workers()
    throughout(LONG, lambda: procq.workers() == after, "being well")
    assert len(events(procq, "condemned")) == 3


def test_other_questions_take_effect_without_touching_a_worker(procqs: Procqs) -> None:
    number = free_ports(2)
    url = f"http: http://127.0.0.1:{number}{{slot}}/healthz"
    procq = up(procqs, manifest(url, number, every="1h"))
    before = procq.workers()

    def questions() -> int:
        return len(asked(procq.folder, 1)) + len(asked(procq.folder, 2))

    first = questions()
    procq.save(manifest(url, number, every="100ms"))
    until(lambda: questions() > first + 10, "more questions")
    procq.save(manifest(url, number).split("    health:")[0])
    until(lambda: _quiet(questions), "no more questions")
    assert procq.workers() == before


def _quiet(questions: Callable[[], int]) -> bool:
    """Whether nobody is asked for a time in which there were always questions."""
    before, end = questions(), time.monotonic() + 0.6
    while time.monotonic() < end and questions() == before:
        time.sleep(0.02)
    return questions() == before


def test_another_control_plane_asks_and_replaces(procqs: Procqs) -> None:
    number = free_ports(2)
    procq = up(procqs, manifest(f"http: http://127.0.0.1:{number}{{slot}}/healthz", number))
    before = procq.workers()
    procq.kill_control_plane()
    assert procq.wait_running(2) == before
    (procq.folder / "sick.1").touch()
    until(lambda: events(procq, "condemned"), "somebody to be found unwell")
    (procq.folder / "sick.1").unlink()
    until(lambda: replaced(procq, "server.1", before["server.1"].pid), "another one")
    assert procq.workers()["server.2"] == before["server.2"]


def test_a_command_that_does_not_exist_costs_nobody(procqs: Procqs) -> None:
    number = free_ports(2)
    procq = up(procqs, manifest("command: ./no-such-command", number, failures=1))
    before = procq.workers()
    until(lambda: {event.worker for event in events(procq, "unasked")} == {"server.1", "server.2"}, "it to be told")
    throughout(LONG, lambda: procq.workers() == before, "going on")
    assert "./no-such-command" in events(procq, "unasked")[0].text
    assert Counter(event.worker for event in events(procq, "unasked")) == {"server.1": 1, "server.2": 1}, "told once"
