"""System calls of a spawn that fail, one by one: FAULTS 15, 18, 23, 24, 31.

In T1: what T2 adds to a spawn is in test_groups.py.

strace finds out which calls a spawn makes, and makes them fail. Whichever it is: the keeper answers, the worker is told
with the stage and the number (or runs nevertheless), nothing is left of it, and once the failure is over it starts.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.process.support import processes
from tests.process.support.fixtures import Keepers
from tests.process.support.injecting import Call, can_trace, injected, read, strace
from tests.process.support.keeper import Keeper
from tests.process.support.oracle import keeper_excess, settled
from tests.process.support.spawnpath import COMMON, SPAWNS, TRANSIENT, Fails, cases, expected

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not can_trace(), reason="needs strace, and the right to attach it"),
]


@pytest.fixture(autouse=True)
def only_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCQ_TIER", "1")


SACRIFICED = 4
"""Spawns before the one that counts: then the keeper's own calls of that name are behind the one that is to fail."""
_CLEAN: dict[str, list[Call]] = {}


def spawn(keeper: Keeper, kind: str, worker: str = "w.1") -> int:
    return keeper.spawn(["/bin/true"], worker, **COMMON, **SPAWNS[kind])


def calls(keepers: Keepers, kind: str, trace: Path) -> list[Call]:
    """Those of a spawn in which nothing fails, the first of its keeper."""
    if kind not in _CLEAN:
        keeper = keepers()
        with strace(keeper.pid, trace, "-f"):
            keeper.of(spawn(keeper, kind), "gone")
        _CLEAN[kind] = read(trace.read_text(), keeper.pid)
    return _CLEAN[kind]


def needs_root(kind: str) -> None:
    if kind == "user" and os.getuid() != 0:
        pytest.skip("needs root, to become somebody else")


@pytest.mark.parametrize("kind", SPAWNS)
def test_every_call_of_a_spawn_is_in_the_table(keepers: Keepers, tmp_path: Path, kind: str) -> None:
    needs_root(kind)
    found = calls(keepers, kind, tmp_path / "trace")
    assert len(found) > 50, "too few for a spawn: is the trace understood?"
    assert {call.syscall for call in found} >= {"pipe2", "setsid", "dup3", "execve"}
    assert [call for call in found if expected(kind, call.side, call.name) is None] == []


@pytest.mark.parametrize(("kind", "side", "name", "error"), cases())
def test_faults_15_18_23_24_a_call_that_fails(
    keepers: Keepers, tmp_path: Path, kind: str, side: str, name: str, error: str
) -> None:
    needs_root(kind)
    found = next((c for c in calls(keepers, kind, tmp_path / "clean") if (c.side, c.name) == (side, name)), None)
    if found is None:
        pytest.skip("not made on this system")
    keeper, trace = keepers(), tmp_path / "trace"
    options = [f"--inject={found.syscall}:error={error}:when={found.nth}", f"--trace={found.syscall}", "-f"]
    with strace(keeper.pid, trace, *(options if side == "child" else options[:-1])):
        for n in range(SACRIFICED if side == "child" else 0):
            keeper.of(spawn(keeper, kind, f"sacrificed.{n}"), "gone")
        generation = spawn(keeper, kind)
        keeper.answers()
        keeper.of(generation, "gone")
    if side == "child":
        assert injected(trace.read_text(), besides=keeper.pid) == SACRIFICED + 1, "in each child once"
    else:
        assert injected(trace.read_text()) == 1, "in the keeper once"
    judge(keeper, generation, kind, side, name, error)
    keeper.answers()
    assert settled(lambda: keeper_excess(keeper.pid, keeper.baseline, 0)) == []
    assert processes.zombies_of(keeper.pid) == []
    again = spawn(keeper, kind)
    assert keeper.of(again, "exited")["status"]["code"] == 0


def judge(keeper: Keeper, generation: int, kind: str, side: str, name: str, error: str) -> None:
    what = expected(kind, side, name)
    if not isinstance(what, Fails):
        assert keeper.of(generation, "exited")["status"]["code"] == 0
        assert keeper.kinds(generation).count("spawn_failed") == 0
        return
    failure = keeper.of(generation, "spawn_failed")["failure"]
    assert (failure["stage"], errno.errorcode[failure["errno"]]) == (what.stage, error)
    assert failure["transient"] == (error in TRANSIENT)
    assert not {"executing", "exited"} & set(keeper.kinds(generation)), "it never ran"


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
def test_faults_15_a_sandbox_without_clone3_and_then_without_shared_memory(
    keepers: Keepers, tmp_path: Path, error: str
) -> None:
    """The next way to make a child is tried, and the one after that."""
    keeper = keepers()
    refuse = [f"--inject={call}:error={error}:when=1" for call in ("clone3", "clone")]
    with strace(keeper.pid, tmp_path / "trace", "--trace=clone3,clone", *refuse):
        assert keeper.of(spawn(keeper, "plain"), "exited")["status"]["code"] == 0
    assert injected((tmp_path / "trace").read_text()) == 2


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")
def test_faults_31_a_way_back_to_root_is_the_end_of_the_spawn(keepers: Keepers, tmp_path: Path) -> None:
    """The last setresuid must fail: here it is said to have worked."""
    keeper = keepers()
    with strace(keeper.pid, tmp_path / "trace", "-f", "--trace=setresuid", "--inject=setresuid:retval=0:when=3"):
        generation = spawn(keeper, "user")
        keeper.of(generation, "gone")
    failure = keeper.of(generation, "spawn_failed")["failure"]
    assert (failure["stage"], failure["errno"]) == ("user", errno.EPERM)
