"""What workers say of their jobs: by stream and socket, by one process and by many; and what is said to them."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.process.support.keeper import Event, Keeper
from tests.process.support.speaker import Speaker
from tests.process.support.waiting import throughout, until

pytestmark = pytest.mark.process
OWN = "X_PROCQ_SCOPE=process"


def worker(keeper: Keeper, folder: Path, name: str = "w.1", **spawn: Any) -> Speaker:
    return Speaker(keeper, folder, name, program_name="jobs.py", **spawn)


def report(keeper: Keeper, speaker: Speaker, **wanted: Any) -> Event:
    """The first report that says so."""
    expected = {"t": "reported", "generation": speaker.generation, **wanted}
    return keeper.wait(lambda event: expected.items() <= event.items(), f"the report {wanted}")


def heard(speaker: Speaker) -> list[str]:
    path = Path(f"{speaker.fifo}.heard")
    return path.read_text().splitlines() if path.exists() else []


def park(keeper: Keeper, speaker: Speaker, parked: bool) -> None:
    keeper.send({"t": "park", "worker": "w.1", "generation": speaker.generation, "parked": parked})


def test_lines_of_the_stream_are_messages(keeper: Keeper, tmp_path: Path) -> None:
    with worker(keeper, tmp_path) as speaker:
        speaker.says("line READY=1|STATUS=by stream|X_PROCQ_JOBS=3")
        keeper.of(speaker.generation, "ready")
        report(keeper, speaker, status="by stream", jobs=3)
        speaker.says("raw X_PROCQ_JO", "raw BS=4", "line |STATUS=whole")
        report(keeper, speaker, status="whole", jobs=4)
        speaker.says("raw " + "x" * 20_000, "line ", "line X_PROCQ_JOBS=5")
        report(keeper, speaker, jobs=5)


def test_a_stream_that_is_closed_costs_nothing_and_the_socket_still_counts(keeper: Keeper, tmp_path: Path) -> None:
    with worker(keeper, tmp_path) as speaker:
        speaker.says("line X_PROCQ_JOBS=1", "close", "X_PROCQ_JOBS=2")
        report(keeper, speaker, jobs=2)
        process = psutil.Process(keeper.pid)
        used = sum(process.cpu_times()[:2])
        throughout(0.5, lambda: sum(process.cpu_times()[:2]) - used < 0.25, "the keeper rests")


def test_processes_that_count_for_themselves_are_added_up(keeper: Keeper, tmp_path: Path) -> None:
    with worker(keeper, tmp_path) as speaker:
        speaker.says("begin a", "begin b", f"a X_PROCQ_JOBS=5|X_PROCQ_BUSY=1|X_PROCQ_JOB=7 mail|{OWN}")
        report(keeper, speaker, jobs=5, busy=1, job="7 mail")
        speaker.says(f"b X_PROCQ_JOBS=2|X_PROCQ_FAILED=1|X_PROCQ_BUSY=2|X_PROCQ_TOOK=1,1|X_PROCQ_TOOK_USEC=900|{OWN}")
        report(keeper, speaker, jobs=7, failed=1, busy=3, job="7 mail", took=[1, 1], took_usec=900)
        # It is killed: nobody says that its job is over.
        speaker.says("end a")
        report(keeper, speaker, jobs=7, busy=2, job="")
        speaker.says("begin c", f"c X_PROCQ_JOBS=1|X_PROCQ_BUSY=0|{OWN}", f"b X_PROCQ_BUSY=0|{OWN}")
        report(keeper, speaker, jobs=8, busy=0)


def test_all_processes_are_told_to_take_no_more_jobs_and_all_have_to_say_so(keeper: Keeper, tmp_path: Path) -> None:
    with worker(keeper, tmp_path) as speaker:
        speaker.says("line X_PROCQ_PARKED=0", "begin a", f"a X_PROCQ_PARKED=0|{OWN}")
        report(keeper, speaker, parked=False)
        park(keeper, speaker, True)
        until(lambda: sorted(heard(speaker)) == ["a PARK", "stream PARK"], "both to hear it")
        speaker.says("line X_PROCQ_PARKED=1")
        assert keeper.answers()[0]["parked"] is not None
        speaker.says(f"a X_PROCQ_PARKED=1|X_PROCQ_BUSY=0|{OWN}")
        report(keeper, speaker, parked=True, busy=0)
        # Who begins after it was said is told as well.
        speaker.says("begin b", f"b X_PROCQ_PARKED=0|{OWN}")
        until(lambda: "b PARK" in heard(speaker), "the new one to hear it")
        speaker.says("end b")
        park(keeper, speaker, False)
        until(lambda: sorted(heard(speaker))[-1] == "stream RESUME", "the stream to hear it")
        until(lambda: "a RESUME" in heard(speaker), "the process to hear it")
        assert keeper.answers()[0]["parked"] is None


def test_nobody_but_its_keeper_can_say_anything_to_a_worker(keeper: Keeper, tmp_path: Path) -> None:
    with worker(keeper, tmp_path) as speaker:
        speaker.says("begin a", f"a X_PROCQ_PARKED=0|{OWN}")
        report(keeper, speaker, parked=False)
        address = Path(f"{speaker.fifo}.a").read_bytes()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger, pytest.raises(PermissionError):
            stranger.sendto(b"PARK\n", address)
        park(keeper, speaker, True)
        until(lambda: sorted(heard(speaker)) == ["a PARK", "stream PARK"], "both to hear it")


def test_what_a_worker_has_done_is_added_to_its_queue_when_it_is_gone(keeper: Keeper, tmp_path: Path) -> None:
    for expected in (3, 6):
        with worker(keeper, tmp_path) as speaker:
            speaker.says("begin a", f"a X_PROCQ_JOBS=2|{OWN}", "X_PROCQ_JOBS=1|X_PROCQ_TOOK=0,1")
            report(keeper, speaker, jobs=3)
            keeper.stop(speaker.generation, grace=0)
            tally = keeper.of(speaker.generation, "tally")
            keeper.of(speaker.generation, "gone")
            assert (tally["queue"], tally["jobs"], tally["took"]) == ("w", expected, [0, expected // 3])
    before = len(keeper.events)
    keeper.answers()
    keeper.wait(lambda event: event in keeper.events[before:] and event["t"] == "tally", "that of the snapshot")
    (again,) = [event for event in keeper.events[before:] if event["t"] == "tally"]
    assert (again["queue"], again["jobs"], again["generation"]) == ("w", 6, 0)


def test_what_workers_have_said_comes_before_the_end_of_a_snapshot(keeper: Keeper, tmp_path: Path) -> None:
    with worker(keeper, tmp_path) as speaker:
        speaker.says("X_PROCQ_JOBS=1")
        report(keeper, speaker, jobs=1)
        before = len(keeper.events)
        keeper.answers()
        kinds = [event["t"] for event in keeper.events[before:]]
        assert kinds.index("workers") < kinds.index("reported") < kinds.index("snapshot_end")


def test_a_worker_inherits_its_stream_and_nothing_else(keeper: Keeper, tmp_path: Path) -> None:
    with worker(keeper, tmp_path) as speaker:
        own = {os.readlink(f"/proc/{speaker.pid}/fd/{number}").partition(":")[0] for number in ("0", "1", "2", "3")}
        assert own == {"/dev/null", "pipe", "socket"}
