"""Everything is stopped in the reverse order of the waves; the stop signal for a whole group."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from procq.client import Progress
from tests.process.support import processes
from tests.process.support.fixtures import Procqs
from tests.process.support.keeper import Event, Keeper, program, read_when_written
from tests.process.support.oracle import Oracle
from tests.process.support.waiting import PATIENCE, until, within

pytestmark = pytest.mark.process


def jobs(keeper: Keeper, ledger: Path, waves: dict[str, int], seconds: float = 0.1, **more: Any) -> dict[str, int]:
    """Workers that note when they are asked and when they are done, by name; returns once all are ready."""
    generations = {
        name: keeper.run(program("job.py", ledger, seconds, name), f"{name}.1", wave=wave, **more)[0]
        for name, wave in waves.items()
    }
    until(lambda: all(has(ledger, f"ready {name}") for name in waves), "the workers")
    return generations


def shut_down(keeper: Keeper, **how: Any) -> None:
    keeper.send({"t": "shutdown", "reason": "the test says so", **how})


def heard(ledger: Path) -> list[str]:
    return [line for line in ledger.read_text().splitlines() if not line.startswith("ready")]


def end(keeper: Keeper) -> None:
    """Reads what is said until the keeper leaves."""
    assert keeper.sentinel.wait(PATIENCE) == 0
    keeper.pump()


def test_the_highest_wave_ends_before_the_next_is_asked(keeper: Keeper, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    jobs(keeper, ledger, {"redis": 0, "api": 1, "mail": 2, "pdf": 2, "cron": 5})
    shut_down(keeper)
    end(keeper)
    lines = heard(ledger)
    assert lines[:2] == ["asked cron", "done cron"]
    assert sorted(lines[2:4]) == ["asked mail", "asked pdf"], "those of one wave are asked together"
    assert sorted(lines[4:6]) == ["done mail", "done pdf"]
    assert lines[6:] == ["asked api", "done api", "asked redis", "done redis"]


def test_a_wave_waits_for_all_that_its_workers_started(keeper: Keeper, tmp_path: Path) -> None:
    """The leader leaves at once, its child needs its grace period and KILL."""
    ledger = tmp_path / "ledger"
    inner = " ".join(program("stubborn.py", tmp_path / "inner"))
    tree = keeper.spawn(["/bin/sh", "-c", f"{inner} & wait"], "tree.1", wave=1, grace=0.3)
    read_when_written(tmp_path / "inner")
    low = jobs(keeper, ledger, {"low": 0}, 0)["low"]
    shut_down(keeper)
    end(keeper)
    asked, gone = keeper.of(low, "stopping"), keeper.of(tree, "gone")
    assert gone["killed"] == 1
    assert asked["at"] >= gone["at"]
    assert asked["deadline"] - asked["at"] == 5_000_000_000, "its grace period begins when it is asked"


def test_who_left_by_himself_holds_nobody_up(keeper: Keeper, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    generations = jobs(keeper, ledger, {"low": 0, "high": 1}, 0)
    for name in ("one", "two"):
        keeper.of(keeper.spawn(["/bin/true"], f"{name}.1", wave=9), "gone")
    keeper.stop(generations["high"])
    keeper.of(generations["high"], "gone")
    shut_down(keeper)
    end(keeper)
    assert heard(ledger) == ["asked high", "done high", "asked low", "done low"]


def test_who_leaves_by_himself_meanwhile_is_not_asked(keeper: Keeper, tmp_path: Path) -> None:
    ledger, go = tmp_path / "ledger", tmp_path / "go"
    waiting = keeper.spawn(["/bin/sh", "-c", f"while [ ! -e {go} ]; do :; done; exit 7"], "waiting.1", wave=1)
    keeper.of(waiting, "executing")
    generations = jobs(keeper, ledger, {"low": 0}, 0)
    high = keeper.spawn(
        ["/bin/sh", "-c", f"trap 'touch {go}; sleep 0.2; exit' TERM; touch {go}.ready; while :; do sleep 0.01; done"],
        "high.1",
        wave=2,
    )
    until(Path(f"{go}.ready").exists, "the highest wave")
    shut_down(keeper)
    end(keeper)
    assert keeper.of(waiting, "exited")["status"]["code"] == 7
    assert "stopping" not in keeper.kinds(waiting)
    assert keeper.of(generations["low"], "stopping")["at"] >= keeper.of(high, "gone")["at"]


def test_a_second_request_can_only_hurry(keeper: Keeper, tmp_path: Path) -> None:
    high = keeper.run(program("stubborn.py", tmp_path / "high"), "high.1", wave=1, grace=60)[0]
    low = keeper.run(program("stubborn.py", tmp_path / "low"), "low.1", wave=0, grace=60)[0]
    for name in ("high", "low"):
        read_when_written(tmp_path / name)
    shut_down(keeper)
    keeper.of(high, "stopping")
    shut_down(keeper)
    assert "stopping" not in {kind for record in [low] for kind in keeper.kinds(record)}
    records = {record["generation"]: record["phase"] for record in keeper.answers()}
    assert records == {high: "stopping", low: "running"}
    shut_down(keeper, fast=True)
    within(1.0, lambda: keeper.sentinel.poll() is not None, "the end of everything")


def test_one_that_is_asked_by_itself_does_not_wait_for_its_turn(keeper: Keeper, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    high = keeper.run(program("stubborn.py", tmp_path / "high"), "high.1", wave=1, grace=0.5)[0]
    read_when_written(tmp_path / "high")
    generations = jobs(keeper, ledger, {"low": 0, "other": 0}, 0)
    shut_down(keeper)
    keeper.of(high, "stopping")
    keeper.stop(generations["low"])
    gone = keeper.of(generations["low"], "gone")
    end(keeper)
    assert gone["at"] < keeper.of(high, "gone")["at"] <= keeper.of(generations["other"], "stopping")["at"]


def test_the_wave_of_a_running_worker_can_change(keeper: Keeper, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    generations = jobs(keeper, ledger, {"a": 0, "b": 1}, 0)
    policy = {"signal": int(signal.SIGTERM), "grace": 5000}
    configure = {"t": "configure", "worker": "a.1", "generation": generations["a"], "stop": policy, "wave": 2}
    keeper.send(configure)
    keeper.answers()
    shut_down(keeper)
    end(keeper)
    assert heard(ledger) == ["asked a", "done a", "asked b", "done b"]


def test_when_the_sentinel_dies_all_are_asked_at_once(keeper: Keeper, oracle: Oracle, tmp_path: Path) -> None:
    """In waves it would take three grace periods: the longest, and one second, is what is promised."""
    for n in range(3):
        keeper.run(program("stubborn.py", tmp_path / f"pid{n}"), f"w.{n}", wave=n, grace=0.5)
        read_when_written(tmp_path / f"pid{n}")
    keeper.sentinel.kill()
    keeper.sentinel.wait()
    within(1.5, lambda: not oracle.alive(), "the end of everything after the sentinel")


def test_the_death_of_the_sentinel_hurries_the_waves(keeper: Keeper, oracle: Oracle, tmp_path: Path) -> None:
    generations = []
    for n in range(3):
        generations.append(keeper.run(program("stubborn.py", tmp_path / f"pid{n}"), f"w.{n}", wave=n, grace=0.5)[0])
        read_when_written(tmp_path / f"pid{n}")
    shut_down(keeper)
    keeper.of(generations[2], "stopping")
    keeper.sentinel.kill()
    keeper.sentinel.wait()
    within(1.5, lambda: not oracle.alive(), "the end of everything after the sentinel")


def test_what_is_said_is_the_sum_over_the_waves(procqs: Procqs) -> None:
    queue = "    command: exec sleep 1000\n    shell: yes\n"
    procq = procqs(f"""\
queues:
  base:
{queue}    stop:
      grace: 3s
  other:
{queue}    stop:
      grace: 4s
  api:
{queue}    after:
      - base
    stop:
      grace: 20s
  mail:
{queue}    workers: 2
    after:
      - api
    stop:
      grace: 100s
""")
    procq.start(5)
    procq.signal(signal.SIGTERM)
    assert procq.wait() == 0
    assert "terminated: stopping 5 workers, up to 124 s" in procq.said()


def test_who_waits_for_the_end_is_told_what_all_waves_may_take(procqs: Procqs) -> None:
    queue = "    command: exec sleep 1000\n    shell: yes\n"
    procq = procqs(f"""\
queues:
  base:
{queue}    stop:
      grace: 30s
  api:
{queue}    after: base
    stop:
      grace: 500s
  mail:
{queue}    after: api
    stop:
      grace: 8000s
""")
    procq.start(3)
    left = [said.left for said in procq.client.stop() if isinstance(said, Progress)]
    assert procq.wait() == 0
    assert left[0] > 8520
    assert any(500 < seconds <= 530 for seconds in left), left
    assert any(1 < seconds <= 30 for seconds in left), left


def has(ledger: Path, line: str) -> bool:
    return ledger.exists() and line in ledger.read_text().splitlines()


def family(keeper: Keeper, ledger: Path, **policy: Any) -> tuple[int, int, int]:
    """A leader and its child, both ready: generation and pids."""
    stop: Event = {"signal": int(signal.SIGTERM), "grace": 5000, **policy}
    generation = keeper.spawn(program("family.py", ledger), stop=stop)
    until(lambda: has(ledger, "leader ready") and has(ledger, "child ready"), "the family")
    pid = keeper.of(generation, "executing")["pid"]
    (child,) = processes.children(pid)
    return generation, pid, child


def test_a_group_hears_the_stop_signal_with_its_leader(keeper: Keeper, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    generation, pid, _ = family(keeper, ledger, to="group")
    keeper.stop(generation)
    until(lambda: has(ledger, "child TERM") and has(ledger, "leader TERM"), "both to be asked")
    assert processes.exists(pid), "the leader waits, so it is not because of its end that the child was asked"
    Path(f"{ledger}.go").touch()
    assert keeper.of(generation, "gone")["killed"] == 0


def test_a_stopped_member_of_a_group_hears_it(keeper: Keeper, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    generation, pid, child = family(keeper, ledger, to="group")
    for each in (child, pid):
        os.kill(each, signal.SIGSTOP)
    keeper.stop(generation)
    until(lambda: has(ledger, "child TERM") and has(ledger, "leader TERM"), "both to be asked")
    Path(f"{ledger}.go").touch()
    assert keeper.of(generation, "gone")["killed"] == 0


def test_who_was_asked_with_the_group_is_not_asked_again(keeper: Keeper, tmp_path: Path) -> None:
    """A second signal means "at once" to many: a job in hand must survive the end of its leader."""
    ledger = tmp_path / "ledger"
    job = " ".join(program("job.py", ledger, 0.3, "job"))
    script = f"trap 'exit 0' INT; {job} & wait"
    stop = {"signal": int(signal.SIGTERM), "grace": 5000, "to": "group"}
    generation = keeper.spawn(["/bin/sh", "-c", script.replace("INT", "TERM")], stop=stop)
    until(lambda: has(ledger, "ready job"), "the job")
    keeper.stop(generation)
    assert keeper.of(generation, "gone")["killed"] == 0
    assert ledger.read_text() == "ready job\nasked job\ndone job\n"


def test_who_has_left_the_group_is_asked_when_the_leader_has_gone(keeper: Keeper, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    job = " ".join(["setsid", *program("job.py", ledger, 0, "job")])
    stop = {"signal": int(signal.SIGTERM), "grace": 5000, "to": "group"}
    generation = keeper.spawn(["/bin/sh", "-c", f"{job} & wait"], stop=stop)
    until(lambda: has(ledger, "ready job"), "the job")
    keeper.stop(generation)
    assert keeper.of(generation, "gone")["killed"] == 0
    assert ledger.read_text() == "ready job\nasked job\ndone job\n"
