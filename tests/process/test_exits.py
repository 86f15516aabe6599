"""Exits and identities: FAULTS 3, 4, 5, 6, 7, 16, 29."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.process.support import processes
from tests.process.support.fixtures import Keepers
from tests.process.support.keeper import Keeper, program, read_when_written
from tests.process.support.trials import CI
from tests.process.support.waiting import until

pytestmark = pytest.mark.process

CROWD = 500
ORPHANS = 5_000


def leave_together(keeper: Keeper, fifo: Path, crowd: int) -> dict[int, int]:
    """Workers that wait at one barrier and leave at once; the expected code of each generation."""
    codes = {
        keeper.spawn(["/bin/sh", "-c", f"read x < {fifo}; exit {slot % 251}"], f"w.{slot}"): slot % 251
        for slot in range(1, crowd + 1)
    }
    pids = {event["pid"] for event in keeper.all_of(codes, "executing").values()}
    until(lambda: all(waits_in_open(pid) for pid in pids), "all of them at the barrier")
    os.close(os.open(fifo, os.O_WRONLY))
    return codes


def barrier(folder: Path) -> Path:
    fifo = folder / "barrier"
    os.mkfifo(fifo)
    return fifo


def waits_in_open(pid: int) -> bool:
    """A shell that waits in open(2) for a writer of the fifo is asleep and has only its three descriptors."""
    found = processes.stat(pid)
    return found is not None and found.state == "S" and found.name == "sh"


def test_faults_4_6_everybody_leaves_at_once_and_every_status_is_right(keeper: Keeper, tmp_path: Path) -> None:
    codes = leave_together(keeper, barrier(tmp_path), CROWD)
    exited = keeper.all_of(codes, "exited")
    assert {generation: event["status"]["code"] for generation, event in exited.items()} == codes
    gone = keeper.all_of(codes, "gone")
    took = max(event["at"] for event in gone.values()) - min(event["at"] for event in exited.values())
    print(f"{CROWD} exits in {took / 1e6:.0f} ms")
    assert processes.zombies_of(keeper.pid) == []


def test_faults_6_thousands_of_orphans_end_in_the_same_instant_as_workers(keeper: Keeper, tmp_path: Path) -> None:
    """More than one round of reaping takes: none is left, and no worker gets the status of another."""
    fifo = barrier(tmp_path)
    keeper.run(program("orphans.py", fifo, ORPHANS, tmp_path / "born"), "parent.1")
    born = int(read_when_written(tmp_path / "born"))
    assert born > CROWD, "the machine allows too few processes for this test"
    orphans = processes.children(keeper.pid)
    assert len(orphans) == born + 1, "they have come to the keeper, beside the one that made them"
    until(lambda: all((s := processes.stat(pid)) and s.state == "S" for pid in orphans), "all of them at the barrier")
    codes = leave_together(keeper, fifo, 200)
    exited = keeper.all_of(codes, "exited")
    assert {generation: event["status"]["code"] for generation, event in exited.items()} == codes
    until(lambda: len(processes.children(keeper.pid)) == 1, "every orphan to be reaped")
    assert processes.zombies_of(keeper.pid) == []


def test_faults_5_statuses_are_right_while_the_owner_runs_programs_of_its_own(keeper: Keeper) -> None:
    enough = threading.Event()
    wrong: list[int] = []

    def hooks() -> None:
        while not enough.is_set():
            code = subprocess.run(["/bin/sh", "-c", "exit 77"], check=False).returncode
            wrong.extend([code] * (code != 77))

    threads = [threading.Thread(target=hooks) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        codes = {keeper.spawn(["/bin/sh", "-c", f"exit {n % 200}"], f"w.{n}"): n % 200 for n in range(1, 201)}
        exited = keeper.all_of(codes, "exited")
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    assert {generation: event["status"]["code"] for generation, event in exited.items()} == codes
    assert wrong == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGRTMIN + 3])
def test_a_signal_that_ended_a_worker_is_told(keeper: Keeper, number: int) -> None:
    generation, pid = keeper.run(["sleep", "1000"])
    os.kill(pid, number)
    assert keeper.of(generation, "exited")["status"] == {"code": None, "signal": number, "oom": False}


def stop_at_once(keeper: Keeper, times: int) -> None:
    """Stops each worker before anybody can know whether its exec has happened."""
    for _ in range(times):
        generation = keeper.spawn(["sleep", "1000"], grace=5)
        keeper.stop(generation)
        keeper.of(generation, "gone")
        assert keeper.of(generation, "exited")["status"] in (
            {"code": None, "signal": signal.SIGTERM, "oom": False},
            {"code": 127, "signal": None, "oom": False},
        )
        keeper.forget(generation)


def test_faults_3_16_a_stop_right_after_the_spawn_ends_that_worker_and_nobody_else(keeper: Keeper) -> None:
    bystander, _ = keeper.run(["sleep", "1000"], "bystander.1")
    stop_at_once(keeper, CI.early_stops)
    assert "exited" not in keeper.kinds(bystander)
    assert keeper.sentinel.poll() is None


def test_faults_3_a_kill_right_after_the_spawn_does_not_meet_the_keepers_own_group(keeper: Keeper) -> None:
    for _ in range(CI.early_stops):
        generation = keeper.spawn(["sleep", "1000"])
        keeper.stop(generation, grace=0)
        keeper.of(generation, "gone")
        keeper.forget(generation)
    assert keeper.answers() == []


def test_faults_16_a_stale_generation_is_refused(keeper: Keeper) -> None:
    first, _ = keeper.run(["sleep", "1000"])
    keeper.stop(first)
    keeper.of(first, "gone")
    second, pid = keeper.run(["sleep", "1000"])
    for order in (
        {"t": "stop", "worker": "w.1", "generation": first},
        {"t": "stop", "worker": "w.2", "generation": second},
        {"t": "configure", "worker": "w.1", "generation": first, "stop": {"signal": 9, "grace": 0}},
        {"t": "forget", "worker": "w.1", "generation": second},
    ):
        keeper.send(order)
    records = keeper.answers()
    assert [(r["generation"], r["phase"]) for r in records] == [(second, "running")], (
        "forgetting the living does nothing"
    )
    refused = [event for event in keeper.events if event["t"] == "refused"]
    assert len(refused) == 3
    assert {event["why"] for event in refused} == {"no such generation"}
    assert processes.exists(pid)


def test_faults_16_a_generation_that_does_not_grow_is_refused(keeper: Keeper) -> None:
    first, _ = keeper.run(["sleep", "1000"])
    argv = [b"sleep", b"1000"]
    keeper.send({"t": "spawn", "worker": "w.2", "generation": first, "fingerprint": "f", "argv": argv, "env": []})
    assert "is not after" in keeper.of(first, "refused")["why"]


def test_faults_10_a_held_slot_is_refused(keeper: Keeper) -> None:
    first, _ = keeper.run(["sleep", "1000"])
    second = keeper.spawn(["sleep", "1000"])
    assert keeper.of(second, "refused")["why"] == f"generation {first} still holds the slot"


def test_faults_7_an_owner_that_leaves_in_the_middle_of_spawning_leaves_nothing(keepers: Keepers) -> None:
    for _ in range(5):
        keeper = keepers()
        for slot in range(50):
            keeper.spawn(["sleep", "1000"], f"w.{slot}")
        assert keeper.close() == 0


def test_faults_29_a_grandchild_that_holds_the_pipe_does_not_delay_the_exit(keeper: Keeper, tmp_path: Path) -> None:
    log = tmp_path / "log"
    generation = keeper.spawn(["/bin/sh", "-c", "echo before; sleep 1000 & exec sh -c 'exit 5'"], log=log, grace=0.2)
    exited = keeper.of(generation, "exited")
    assert exited["status"]["code"] == 5
    gone = keeper.of(generation, "gone")
    assert gone["at"] - exited["at"] < 1e9, "the grandchild was asked to leave"
    until(lambda: log.read_bytes() == b"before\n", "its output in the log")


def test_faults_29_output_after_the_exit_of_the_leader_is_kept(keeper: Keeper, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "trap 'echo late; exit' TERM; echo child; while :; do sleep 0.01; done"
    generation = keeper.spawn(["/bin/sh", "-c", f"sh -c {script!r} & while [ ! -s {log} ]; do :; done"], log=log)
    keeper.of(generation, "gone")
    until(lambda: log.read_bytes().endswith(b"late\n"), "the output of the child")


def spawn_many(keeper: Keeper, times: int, slots: int = 50) -> None:
    """Short-lived workers, `slots` at a time."""
    for start in range(0, times, slots):
        some = [keeper.spawn(["/bin/true"], f"w.{slot}") for slot in range(min(slots, times - start))]
        keeper.all_of(some, "gone")
        assert {event["status"]["code"] for event in keeper.all_of(some, "exited").values()} == {0}
        for generation in some:
            keeper.forget(generation)
        keeper.events.clear()


def test_many_spawns_leave_no_zombie_and_no_descriptor(keeper: Keeper) -> None:
    spawn_many(keeper, CI.spawns)
    assert processes.zombies_of(keeper.pid) == []


def test_a_snapshot_tells_whether_an_end_was_asked_for(keeper: Keeper) -> None:
    """Or a control plane that was not there would take a stop for a crash."""
    asked, _ = keeper.run(["sleep", "1000"], "asked.1")
    crashed, pid = keeper.run(["sleep", "1000"], "crashed.1")
    keeper.stop(asked)
    os.kill(pid, signal.SIGTERM)
    keeper.all_of((asked, crashed), "gone")
    assert {record["worker"]: record["asked"] for record in keeper.answers()} == {"asked.1": True, "crashed.1": False}
