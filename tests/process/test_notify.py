"""What workers say of themselves: readiness, reports, and who is believed."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.process.support import processes
from tests.process.support.keeper import Event, Keeper, program
from tests.process.support.notifying import notify_and_exit
from tests.process.support.speaker import Speaker
from tests.process.support.trials import CI
from tests.process.support.users import SOMEBODY, UID, needs_root
from tests.process.support.waiting import within

pytestmark = pytest.mark.process

LINGER = 8.0
"""Seconds that closing what lingering.py passes takes."""
FLOOD = 100_000
NOTIFY = shutil.which("systemd-notify")


def say(address: str, text: str) -> None:
    """As a stranger who found the name: this process is none of the worker's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(text.encode(), address)


@contextmanager
def lingering() -> Iterator[socket.socket]:
    """Closing it takes a minute."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        with listener.accept()[0]:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
            ours.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    ours.send(bytes(65536))
            yield ours


def reports(keeper: Keeper, generation: int) -> list[Event]:
    return [event for event in keeper.events if event["t"] == "reported" and event["generation"] == generation]


def reported(keeper: Keeper, generation: int, **wanted: Any) -> Event:
    """The first report that says so."""
    expected = {"t": "reported", "generation": generation, **wanted}
    return keeper.wait(lambda event: expected.items() <= event.items(), f"the report {wanted}")


def test_a_worker_finds_its_own_socket_and_not_that_of_the_program_above(keeper: Keeper, tmp_path: Path) -> None:
    above = {"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}
    with Speaker(keeper, tmp_path, env=above) as first, Speaker(keeper, tmp_path, "w.2", watchdog=1500) as second:
        variables = [processes.environment(speaker.pid) for speaker in (first, second)]
        assert "WATCHDOG_PID" not in variables[0] | variables[1]
        assert [found.get("WATCHDOG_USEC") for found in variables] == [None, "1500000"]
        assert first.socket != second.socket
        assert first.socket.startswith(f"\0procq/{keeper.instance:x}/{first.generation}/")


def test_ready_is_told_once_and_remembered(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path) as speaker:
        assert keeper.answers()[0]["ready"] is None
        speaker.says("READY=1", "READY=1")
        found = keeper.of(speaker.generation, "ready")
        assert keeper.answers()[0]["ready"] == found["at"]
        assert keeper.kinds(speaker.generation).count("ready") == 1


@pytest.mark.parametrize("ready", ["told", "line", "spawned"])
def test_ready_is_not_asked_for_everywhere(keeper: Keeper, tmp_path: Path, ready: str) -> None:
    with Speaker(keeper, tmp_path, ready=ready, ready_line="never") as speaker:
        speaker.says("READY=1|X_PROCQ_JOBS=1")
        reported(keeper, speaker.generation, jobs=1)
        assert "ready" not in keeper.kinds(speaker.generation)
        (record,) = keeper.answers()
        assert (record["ready"] is not None) == (ready == "spawned")


def test_what_was_said_before_it_was_asked_for_counts(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path, ready="told") as speaker:
        speaker.says("READY=1|X_PROCQ_JOBS=1")
        reported(keeper, speaker.generation, jobs=1)
        stop = {"signal": 15, "grace": 5000}
        about = {"worker": "w.1", "generation": speaker.generation}
        keeper.send({"t": "configure", **about, "stop": stop, "ready": "notify"})
        keeper.of(speaker.generation, "ready")


@pytest.mark.parametrize("who", ["child", "daemon"])
def test_what_a_worker_has_started_is_believed(keeper: Keeper, tmp_path: Path, who: str) -> None:
    with Speaker(keeper, tmp_path) as speaker:
        speaker.says(f"{who} READY=1")
        keeper.of(speaker.generation, "ready")


def test_faults_54_a_stranger_of_the_same_user_has_no_effect(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path, watchdog=60_000) as speaker, Speaker(keeper, tmp_path, "w.2") as other:
        for _ in range(20):
            say(speaker.socket, "READY=1\nWATCHDOG=trigger\nSTATUS=forged\nX_PROCQ_JOBS=99")
        speaker.says("STATUS=true")
        report = reported(keeper, speaker.generation, status="true")
        assert report["jobs"] is None
        keeper.answers()
        assert keeper.kinds(speaker.generation) == ["executing", "reported", "reported"], "the last by the snapshot"
        assert keeper.kinds(other.generation) == ["executing"]


@needs_root
def test_faults_54_a_stranger_of_another_user_has_no_effect_even_when_he_has_gone(
    keeper: Keeper, tmp_path: Path
) -> None:
    with Speaker(keeper, tmp_path) as speaker:
        address = speaker.socket
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                os.setuid(UID)
                say(address, "READY=1\nSTATUS=forged")
                os._exit(0)
            os.waitpid(pid, 0)
        speaker.says("STATUS=true")
        reported(keeper, speaker.generation, status="true")
        assert keeper.kinds(speaker.generation) == ["executing", "reported"]


def test_faults_54_a_stranger_who_gives_himself_the_mark_of_a_worker_has_no_effect(
    keeper: Keeper, tmp_path: Path
) -> None:
    """Anybody can read it in `/proc`, and set it; but he is not born below the keeper."""
    with Speaker(keeper, tmp_path) as speaker:
        limits = Path(f"/proc/{speaker.pid}/limits").read_text()
        mark = limits.partition("Max file locks")[2].split()[0]
        code = f"""import os, resource, socket, sys
resource.setrlimit(10, ({mark}, resource.RLIM_INFINITY))
os.environ.update(PROCQ_INSTANCE="{keeper.instance:x}", PROCQ_GENERATION="{speaker.generation}")
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
    sender.sendto(b"READY=1\\nSTATUS=forged", chr(0) + sys.argv[1])
    print("said", flush=True)
    sys.stdin.read()
"""
        command = [sys.executable, "-I", "-S", "-c", code, speaker.socket[1:]]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:
            assert stranger.stdout is not None
            assert stranger.stdout.readline() == b"said\n"
            speaker.says("STATUS=true")
            reported(keeper, speaker.generation, status="true")
            stranger.communicate()
        assert keeper.kinds(speaker.generation) == ["executing", "reported"]


def test_faults_54_what_a_stranger_passes_makes_nobody_deaf_and_holds_up_nobody(keeper: Keeper, tmp_path: Path) -> None:
    """One socket whose closing waits, then more than may wait: the worker is heard, and the keeper answers."""
    with Speaker(keeper, tmp_path) as speaker, lingering() as slow, open(os.devnull) as null:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(speaker.socket)
            socket.send_fds(sender, [b"FDSTORE=1"], [slow.fileno()])
            os.close(slow.detach())
            with suppress(PermissionError):  # it is refused by then
                for _ in range(4):
                    socket.send_fds(sender, [b"FDSTORE=1"], [null.fileno()] * 250)
        if tuple(map(int, platform.release().split(".")[:2])) >= (6, 16):  # older kernels cannot refuse descriptors
            speaker.says("STATUS=true")
            reported(keeper, speaker.generation, status="true")
        assert within(LINGER, lambda: keeper.answers() or True, "an answer") < LINGER / 2
        keeper.stop(speaker.generation, grace=0)
        keeper.of(speaker.generation, "gone", LINGER / 2)


@needs_root
def test_a_worker_of_another_user_is_believed(keeper: Keeper) -> None:
    script = """import os, socket, time
to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
to.sendto(b"READY=1", chr(0) + os.environ["NOTIFY_SOCKET"][1:])
time.sleep(1000)
"""
    command = ["/usr/bin/python3", "-I", "-S", "-c", script]
    generation, _ = keeper.run(command, user=SOMEBODY, ready="notify", directory="/")
    keeper.of(generation, "ready")


def test_faults_56_what_is_said_of_an_old_generation_changes_nothing(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path) as old:
        address = old.socket
        keeper.stop(old.generation, grace=0)
        keeper.of(old.generation, "gone")
    with Speaker(keeper, tmp_path) as new:
        with pytest.raises(ConnectionRefusedError):
            say(address, "READY=1")
        keeper.send({"t": "mark_ready", "worker": "w.1", "generation": old.generation})
        keeper.of(old.generation, "refused")
        (record,) = keeper.answers()
        assert (record["generation"], record["ready"]) == (new.generation, None)


def test_who_is_leaving_does_not_become_ready(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path, "w.1", "--ignore-term") as speaker:
        keeper.stop(speaker.generation)
        keeper.of(speaker.generation, "stopping")
        speaker.says("READY=1|X_PROCQ_JOBS=1")
        reported(keeper, speaker.generation, jobs=1)
        assert "ready" not in keeper.kinds(speaker.generation)


def test_the_last_report_comes_before_the_end(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path) as speaker:
        for number in range(100):
            speaker.begins(f"X_PROCQ_JOBS={number}|X_PROCQ_FAILED=1|X_PROCQ_BUSY=0")
        speaker.begins("exit 3")
        keeper.of(speaker.generation, "gone")
        kinds = keeper.kinds(speaker.generation)
        assert kinds[-4:] == ["reported", "exited", "tally", "gone"]
        last = reports(keeper, speaker.generation)[-1]
        assert (last["jobs"], last["failed"], last["busy"]) == (99, 1, 0)


def test_a_job_is_timed_from_its_first_message(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path) as speaker:
        speaker.says("X_PROCQ_BUSY=1|X_PROCQ_JOB=a1 send mail")
        begun = reported(keeper, speaker.generation, job="a1 send mail")["since"]
        speaker.says("X_PROCQ_JOB=a1 send mail|STATUS=half")
        assert reported(keeper, speaker.generation, status="half")["since"] == begun
        speaker.says("X_PROCQ_JOB=a2 send mail")
        assert reported(keeper, speaker.generation, job="a2 send mail")["since"] > begun
        speaker.says("X_PROCQ_BUSY=0")
        over = reported(keeper, speaker.generation, busy=0)
        assert (over["job"], over["since"]) == ("", None)


def test_a_snapshot_tells_again_what_workers_said(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path) as speaker:
        speaker.says("STATUS=well")
        reported(keeper, speaker.generation, status="well")
        keeper.answers()
        keeper.pump(1.0)
        assert len(reports(keeper, speaker.generation)) == 2


def test_faults_54_what_is_passed_is_closed_at_once(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path) as speaker:
        before = processes.descriptors(keeper.pid)
        for word in ("BARRIER=1", "FDSTORE=1|FDNAME=x", "READY=1"):
            speaker.says(f"store {word}")
        keeper.of(speaker.generation, "ready")
        assert processes.descriptors(keeper.pid) - before == {}


def test_too_long_a_message_is_no_message(keeper: Keeper, tmp_path: Path) -> None:
    with Speaker(keeper, tmp_path) as speaker:
        speaker.says("READY=1|STATUS=" + "x" * 5000, "X_PROCQ_JOBS=1")
        assert reported(keeper, speaker.generation, jobs=1)["status"] == ""
        assert "ready" not in keeper.kinds(speaker.generation)


@pytest.mark.skipif(NOTIFY is None, reason="there is no systemd-notify here")
def test_systemd_notify_itself_is_understood(keeper: Keeper) -> None:
    script = f"{NOTIFY} --status='loading' && {NOTIFY} --ready --status='up' X_PROCQ_JOBS=7 && {NOTIFY} WATCHDOG=1"
    generation = keeper.spawn(["sh", "-c", f"{script}; echo done $?; exec sleep 1000"], ready="notify")
    keeper.of(generation, "ready")
    reported(keeper, generation, status="up", jobs=7)


@pytest.mark.skipif(NOTIFY is None, reason="there is no systemd-notify here")
def test_systemd_notify_that_waits_for_nothing_is_believed_too(keeper: Keeper) -> None:
    generation = keeper.spawn(["sh", "-c", f"{NOTIFY} --no-block --ready; exec sleep 1000"], ready="notify")
    keeper.of(generation, "ready")


def test_faults_54_descriptors_whose_closing_waits_keep_nobody(keeper: Keeper) -> None:
    generation, _ = keeper.run(program("lingering.py"), ready="notify")
    keeper.of(generation, "ready", LINGER / 2)
    assert within(LINGER, lambda: keeper.answers() or True, "an answer") < LINGER / 2
    keeper.stop(generation, grace=0)
    keeper.of(generation, "gone")


def test_faults_54_a_flood_of_messages_holds_up_nobody_and_the_totals_are_right(keeper: Keeper) -> None:
    generation, _ = keeper.run(program("flooding.py", FLOOD), ready="notify")
    others = 0
    while "ready" not in keeper.kinds(generation):
        other = keeper.spawn(["true"], "other.1")
        keeper.of(other, "gone")
        others += 1
    assert others > 10, "they were started and reaped meanwhile"
    said = reports(keeper, generation)
    begun, ended = keeper.of(generation, "executing")["at"], keeper.of(generation, "ready")["at"]
    assert len(said) <= 2 + (ended - begun) / 250e6, "four a second"
    reported(keeper, generation, jobs=FLOOD, failed=FLOOD // 2)


def test_faults_54_who_says_it_and_ends_at_once_has_said_it(keeper: Keeper) -> None:
    notify_and_exit(keeper, CI.notices)
