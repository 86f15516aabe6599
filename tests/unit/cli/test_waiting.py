"""Waiting shows how far it is, and says what became of those that are not what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from procq import wire
from procq.cli import waiting
from procq.cli.terminal import Terminal
from procq.cli.waiting import RUNNING, STOPPED, Goal, wait_for
from procq.client import Client, Refused
from procq.paths import Project

PROJECT = Project("/srv/shop/procq.yaml", "shop", "/run", "/state")
IDS = tuple(f"a.{slot}" for slot in range(1, 5))


def worker(slot: int, state: str, generation: int = 1, *, wanted: bool = True) -> wire.WorkerView:
    return wire.WorkerView(f"a.{slot}", "a", slot, state, generation=generation, wanted=wanted)


def look(*workers: wire.WorkerView, problem: str | None = None) -> wire.StatusView:
    queue = wire.QueueView("a", "work", "steady", 0, 4, 4, problem=problem)
    return wire.StatusView("shop", "procq.yaml", None, 1.0, 1, 2, 1, queues=(queue,), workers=workers)


class Scripted(Client):
    """Answers with one status after the other, the last one for ever."""

    def __init__(self, *answers: wire.StatusView | Refused) -> None:
        super().__init__(PROJECT)
        self._answers = list(answers)

    def status(self, targets: Sequence[str] = ()) -> wire.StatusView:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Refused):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_EVERY", 0.0)


def wait(client: Client, goal: Goal = RUNNING, patience: float | None = None) -> int:
    terminal = Terminal({})
    terminal._progress_on = True
    return wait_for(client, wire.Affected(IDS, ("a",)), terminal, goal, patience=patience)


def test_progress_is_shown_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    looks = [look(*(worker(n, "running" if n <= done else "starting") for n in range(1, 5))) for done in (0, 1, 3, 4)]
    assert wait(Scripted(*looks), replace(RUNNING, done="started")) == 0
    said = capsys.readouterr()
    shown = [line for line in said.err.split("\r\x1b[2K") if line]
    assert shown == [
        "0/4 started, waiting for a.1, a.2, a.3 and a.4",
        "1/4 started, waiting for a.2, a.3 and a.4",
        "3/4 started, waiting for a.4",
    ]
    assert said.out.startswith("4 workers started in ")


@pytest.mark.parametrize("goal", [STOPPED, replace(RUNNING, done="replaced", newer_than={"a.3": 1})])
def test_a_roll_out_that_is_halted_keeps_nobody_else_waiting(goal: Goal, capsys: pytest.CaptureFixture[str]) -> None:
    """One worker is stopped or restarted by itself: it does not wait for its turn, and is waited for."""
    halted, running = "roll-out halted after 0 of 4: a.1 exit code 1", goal.wanted
    after = worker(3, "running" if running else "stopped", 2, wanted=running)
    looks = look(worker(3, "stopping", wanted=running), problem=halted), look(after, problem=halted)
    assert wait_for(Scripted(*looks), wire.Affected(("a.3",), ("a",)), Terminal({}), goal) == 0
    assert "halted" not in capsys.readouterr().out


def test_a_roll_out_that_is_halted_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    goal = replace(RUNNING, done="replaced", newer_than=dict.fromkeys(IDS, 1))
    workers = [worker(1, "running", 5), worker(2, "starting", 6), worker(3, "running"), worker(4, "running")]
    why = "roll-out halted after 1 of 4: a.2 exit code 1"
    assert wait(Scripted(look(*workers), look(*workers, problem=why)), goal) == 1
    said = capsys.readouterr()
    assert said.out.startswith("1 worker replaced in ")
    assert said.out.endswith(f"a   {why}\n")
    assert "1/4 replaced, waiting for a.2, a.3 and a.4" in said.err


def test_time_may_be_up(capsys: pytest.CaptureFixture[str]) -> None:
    looks = look(*(worker(n, "running") for n in (1, 2, 3)), worker(4, "starting"))
    assert wait(Scripted(looks), patience=0.0) == 1
    assert capsys.readouterr().out.endswith("a.4   starting   not running yet\n")


def test_a_queue_that_is_gone_has_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    gone = wire.StatusView("shop", "procq.yaml", None, 1.0, 1, 2, 1)
    assert wait(Scripted(Refused("no queue"), gone), STOPPED) == 0
    assert wait(Scripted(Refused("no queue"), gone)) == 1
    assert "4 workers no longer wanted" in capsys.readouterr().out


def test_many_failures_are_not_all_listed(capsys: pytest.CaptureFixture[str]) -> None:
    ids = tuple(f"a.{slot}" for slot in range(1, 101))
    status = look(*(replace(worker(slot, "failed"), last_exit="exit code 1") for slot in range(1, 101)))
    assert wait_for(Scripted(status), wire.Affected(ids, ("a",)), Terminal({}), RUNNING) == 1
    said = capsys.readouterr().out.splitlines()
    assert (len(said), said[0]) == (21, "a.1   failed   exit code 1")
    assert said[-1].startswith("and 80 more")


def test_who_is_not_ready_is_told_with_what_it_waits_for(capsys: pytest.CaptureFixture[str]) -> None:
    late = replace(worker(4, "starting"), ready=False, detail="waits for port 80 to accept connections, 58 s left")
    looks = look(*(worker(n, "running") for n in (1, 2, 3)), late)
    assert wait(Scripted(looks), patience=0.0) == 1
    said = capsys.readouterr()
    assert "not running yet: waits for port 80 to accept connections, 58 s left" in said.out
    looks_then = look(*(worker(n, "running") for n in range(1, 5)))
    assert wait(Scripted(looks, looks_then)) == 0
    assert "waiting for a.4 (waits for port 80 to accept connections, 58 s left)" in capsys.readouterr().err


def test_who_waits_for_a_queue_that_failed_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor who waits for one that does: each of them would wait for ever."""
    base = replace(wire.WorkerView("redis.1", "redis", 1, "failed", wanted=True), last_exit="exit code 1")
    after, last = wire.WorkerView("a.1", "a", 1, "starting"), wire.WorkerView("b.1", "b", 1, "starting")
    names = {"redis": (), "a": ("redis",), "b": ("a",)}
    queues = tuple(
        wire.QueueView(n, "x", "growing", 0, 1, 1, waits_for=w, problem=(w and f"waits for {w[0]}") or None)
        for n, w in names.items()
    )
    status = wire.StatusView("shop", "procq.yaml", None, 1.0, 1, 2, 1, queues=queues, workers=(base, after, last))
    affected = wire.Affected(("redis.1", "a.1", "b.1"), tuple(names))
    assert wait_for(Scripted(status), affected, Terminal({}), RUNNING) == 1
    said = capsys.readouterr().out
    assert "redis.1   failed   exit code 1" in said
    assert "b.1   starting   not running yet: waits for a" in said
