"""What a manager refuses, and what becomes of it in a forked process. With workers: tests/process/test_manager.py."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import procq
from procq.manager import ManagerClosed
from procq.model import StopPolicy
from tests.process.support.fixtures import oracle, tier
from tests.process.support.oracle import Oracle
from tests.process.support.processes import COOKIE
from tests.process.support.waiting import PATIENCE, until

__all__ = ["oracle", "tier"]

pytestmark = pytest.mark.process

SLEEP = ["sleep", "1000"]
DEAF = ["/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]


@pytest.fixture
def manager(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> Iterator[procq.Manager]:
    monkeypatch.setenv(COOKIE, oracle.cookie)
    with procq.Manager(output=False) as made:
        yield made


@pytest.mark.parametrize(
    ("name", "command", "options", "why"),
    [
        ("", SLEEP, {}, "name"),
        ("a b", SLEEP, {}, "name"),
        ("../a", SLEEP, {}, "name"),
        ("mail.1", SLEEP, {}, "worker 1 of the queue mail"),
        ("a", [], {}, "program"),
        ("a", [""], {}, "program"),
        ("a", ["sleep", "1\0"], {}, "NUL"),
        ("a", SLEEP, {"workers": -1}, "between 0 and 10000"),
        ("a", SLEEP, {"workers": 10_001}, "between 0 and 10000"),
        ("a", SLEEP, {"env": {"A": "\0"}}, "NUL"),
        ("a", SLEEP, {"env": {"A=B": "1"}}, "A=B"),
        ("a", SLEEP, {"env": {"": "1"}}, "variable"),
        ("a", SLEEP, {"directory": "/a\0b"}, "NUL"),
    ],
)
def test_a_queue_that_cannot_be_is_refused(
    manager: procq.Manager, name: str, command: list[str], options: dict[str, Any], why: str
) -> None:
    manager.add("mail", SLEEP)
    with pytest.raises(ValueError, match=why):
        manager.add(name, command, **options)
    assert manager.wait_until_running(PATIENCE)
    assert [worker.id for worker in manager.status()] == ["mail.1"]


def test_a_command_is_a_list_and_an_environment_is_text(manager: procq.Manager) -> None:
    with pytest.raises(TypeError, match="list"):
        manager.add("a", "sleep 1000")
    with pytest.raises(TypeError, match="text"):
        manager.add("a", SLEEP, env={"A": 1})  # type: ignore[dict-item]
    assert manager.status() == []


def test_everything_can_be_stopped_while_a_removed_queue_is_being_emptied(manager: procq.Manager) -> None:
    manager.add("old", DEAF, stop=StopPolicy(grace=0.5))
    manager.add("new", SLEEP)
    assert manager.wait_until_running(PATIENCE)
    manager.remove("old")
    manager.restart()
    manager.stop_all(PATIENCE)
    assert [worker.id for worker in manager.status()] == ["new.1"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_no_manager(manager: procq.Manager) -> None:
    manager.add("a", SLEEP)
    assert manager.wait_until_running(PATIENCE)
    (before,) = manager.status()
    child = os.fork()
    if not child:
        try:
            manager.status()
        except ManagerClosed:
            manager.close()
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert [worker.pid for worker in manager.status()] == [before.pid]
    manager.scale("a", 2)
    assert manager.wait_until_running(PATIENCE)


FORKS = """
import os, procq, signal
manager = procq.Manager(output=False)
manager.add("a", ["sleep", "1000"])
assert manager.wait_until_running(30)
if not os.fork():
    signal.pause()
print(manager.status()[0].pid, flush=True)
signal.pause()
"""


def test_workers_end_with_their_owner_though_a_child_of_it_lives_on(
    oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(COOKIE, oracle.cookie)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        worker = int(owner.stdout.readline())
        owner.kill()
        owner.wait(PATIENCE)
        try:
            until(lambda: not os.path.exists(f"/proc/{worker}"), "the worker to end")
        finally:
            oracle.clean_up()
