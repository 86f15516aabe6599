"""Health commands: how they run, how they end, and that nothing of them stays."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.process.support import processes
from tests.process.support.keeper import Event, Keeper, program, read_when_written
from tests.process.support.waiting import PATIENCE, until

pytestmark = pytest.mark.process

MINUTE = 60_000
MOST = 64
TAIL = 4096


def probe(keeper: Keeper, argv: list[str], timeout: int = MINUTE, worker: str = "w.1", **more: Any) -> int:
    return keeper.spawn(argv, f"{worker}/health", probe=timeout, **more)


def shell(keeper: Keeper, script: str, timeout: int = MINUTE, **more: Any) -> int:
    return probe(keeper, ["sh", "-c", script], timeout, **more)


def probed(keeper: Keeper, generation: int, seconds: float = PATIENCE) -> Event:
    found = keeper.of(generation, "probed", seconds)
    assert found["worker"] == "w.1"
    return found


@pytest.mark.parametrize(("script", "ended"), [("exit 0", (0, None)), ("exit 7", (7, None)), ("kill $$", (None, 15))])
def test_how_it_ended_is_told_and_nothing_else(keeper: Keeper, script: str, ended: tuple[int | None, ...]) -> None:
    generation = shell(keeper, f"echo well; echo ill >&2; {script}")
    found = probed(keeper, generation)
    assert (found["status"]["code"], found["status"]["signal"]) == ended
    assert (found["failure"], found["timed_out"]) == (None, False)
    assert sorted(found["output"].splitlines()) == ["ill", "well"]
    keeper.answers()
    assert keeper.kinds(generation) == ["probed"]


def test_what_cannot_start_says_where_and_why(keeper: Keeper) -> None:
    found = probed(keeper, probe(keeper, ["/no/such/command"]))
    assert (found["failure"]["stage"], found["failure"]["errno"]) == ("exec", 2)
    assert found["status"] is None


def test_it_runs_as_workers_do_but_has_no_notify_socket(keeper: Keeper, tmp_path: Path) -> None:
    env = {"MOOD": "good", "NOTIFY_SOCKET": "/run/systemd/notify"}
    script = 'echo "$MOOD $PWD $(umask) ${NOTIFY_SOCKET-none}"'
    found = probed(keeper, shell(keeper, script, env=env, directory=tmp_path, umask=0o027))
    assert found["output"] == f"good {tmp_path} 0027 none\n"


def test_after_its_time_it_is_killed_with_all_it_has_started(keeper: Keeper, tmp_path: Path) -> None:
    command = program("stubborn.py", tmp_path / "leader", "setsid", *program("stubborn.py", tmp_path / "child"))
    generation = probe(keeper, command, 500)
    pids = [int(read_when_written(tmp_path / name)) for name in ("leader", "child")]
    found = probed(keeper, generation)
    assert (found["timed_out"], found["status"]) == (True, None)
    until(lambda: not any(map(processes.exists, pids)), "the end of them")
    keeper.answers()
    assert keeper.kinds(generation) == ["probed"]


def test_what_it_leaves_behind_ends_with_it(keeper: Keeper, tmp_path: Path) -> None:
    command = program("daemon.py", tmp_path / "pid", "--ignore-term")
    generation = shell(keeper, f"{' '.join(command)} & while [ ! -e {tmp_path}/pid ]; do sleep 0.01; done; exit 0")
    assert probed(keeper, generation)["status"]["code"] == 0
    pid = int(read_when_written(tmp_path / "pid"))
    until(lambda: not processes.exists(pid), "its end")


def test_the_end_of_its_output_is_kept(keeper: Keeper) -> None:
    found = probed(keeper, shell(keeper, r"seq 100000; printf 'end \033[2Jé'"))
    assert found["output"].endswith("100000\nend  [2Jé")
    assert TAIL - 10 < len(found["output"]) <= TAIL


def test_it_is_in_no_snapshot_and_no_slot(keeper: Keeper) -> None:
    worker, pid = keeper.run(["sleep", "1000"])
    generation = shell(keeper, "exec sleep 1001")
    until(lambda: "sleep 1001" in map(processes.command, processes.children(keeper.pid)), "it to run")
    records = keeper.answers()
    assert [(record["generation"], record["pid"]) for record in records] == [(worker, pid)]
    keeper.stop(worker, grace=0)
    keeper.of(worker, "gone")
    assert probed(keeper, generation)["status"]["signal"] == signal.SIGKILL
    assert [record["generation"] for record in keeper.answers()] == [worker]


def test_it_ends_with_its_worker(keeper: Keeper, tmp_path: Path) -> None:
    worker, pid = keeper.run(["sleep", "1000"])
    other, _ = keeper.run(["sleep", "1000"], "w.2")
    of_other = probe(keeper, ["sleep", "1001"], worker="w.2")
    generation = probe(keeper, program("stubborn.py", tmp_path / "pid"))
    read_when_written(tmp_path / "pid")
    os.kill(pid, signal.SIGKILL)
    found = probed(keeper, generation)
    assert (found["status"]["signal"], found["timed_out"]) == (signal.SIGKILL, False)
    keeper.of(worker, "gone")
    assert "probed" not in keeper.kinds(of_other)
    keeper.stop(other, grace=0)
    keeper.of(of_other, "probed")


def test_when_everything_is_stopped_they_are_killed_at_once(keeper: Keeper, tmp_path: Path) -> None:
    worker, _ = keeper.run(program("stubborn.py", tmp_path / "worker"), grace=1.0)
    generation = probe(keeper, program("stubborn.py", tmp_path / "pid"), worker="w.1")
    read_when_written(tmp_path / "worker")
    read_when_written(tmp_path / "pid")
    keeper.send({"t": "shutdown", "reason": "the end"})
    keeper.of(generation, "probed")
    assert "gone" not in keeper.kinds(worker)
    late = shell(keeper, "exit 0")
    assert probed(keeper, late)["failure"]["transient"], "which says nothing of the worker"
    keeper.sentinel.wait(PATIENCE)


def test_more_than_a_bound_at_once_fail_for_a_lack_that_passes(keeper: Keeper) -> None:
    running = [shell(keeper, "exec sleep 1000", 2000) for _ in range(MOST)]
    refused = probed(keeper, shell(keeper, "exit 0"))
    assert refused["failure"]["transient"]
    assert all(keeper.of(generation, "probed")["timed_out"] for generation in running)
    until(lambda: len(processes.children(keeper.pid)) < MOST, "the end of one")
    assert probed(keeper, shell(keeper, "exit 0"))["status"]["code"] == 0
