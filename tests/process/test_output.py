"""Output end to end: FAULTS 20, 33, 36, 37, 39; torn lines."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from procq import core
from procq.client import Client, Output
from procq.telemetry.keeper import connect, volumes
from tests.process.support import processes, writers
from tests.process.support.fixtures import Keepers, Procqs
from tests.process.support.keeper import Keeper, program
from tests.process.support.project import PROCQ, Procq
from tests.process.support.waiting import until

pytestmark = pytest.mark.process

EVERY_BYTE = bytes(range(256))


@pytest.fixture
def served(procqs: Procqs, keepers: Keepers) -> tuple[Keeper, Client]:
    """A keeper of our own, and a reader of its output."""
    project = procqs("").project
    project.prepare()
    return keepers(run_dir=project.run_dir, keeper_socket=project.keeper_socket), Client(project)


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", f"import os, sys, signal\n{code}"]


def tail(client: Client, worker: str) -> list[Output]:
    return [piece for piece in client.logs([worker], tail=1000) if isinstance(piece, Output)]


def test_faults_37_every_byte_arrives_as_it_was_written(served: tuple[Keeper, Client], tmp_path: Path) -> None:
    keeper, client = served
    log = tmp_path / "log"
    code = "for n in range(256):\n os.write(1, bytes(range(256))[n:] + bytes(range(256))[:n])\nos.write(1, b'end')"
    keeper.of(keeper.spawn(python(code), log=log), "gone")
    expected = b"".join(EVERY_BYTE[n:] + EVERY_BYTE[:n] for n in range(256)) + b"end"
    until(lambda: log.stat().st_size >= len(expected), "the log file")
    assert log.read_bytes() == expected
    kept = b"".join(piece.data for piece in tail(client, "w.1"))
    assert kept
    assert expected.endswith(kept.removesuffix(b"\n"))


def test_faults_36_long_lines_and_an_unterminated_last_one_are_kept(
    served: tuple[Keeper, Client], tmp_path: Path
) -> None:
    keeper, client = served
    log = tmp_path / "log"
    code = "os.write(1, b'a' * 300_000 + b'\\n' + b'short\\n' + b'never ended')"
    keeper.of(keeper.spawn(python(code), log=log), "gone")
    until(lambda: log.stat().st_size >= 300_018, "the log file")
    assert log.read_bytes() == b"a" * 300_000 + b"\nshort\nnever ended"
    pieces = tail(client, "w.1")
    assert all(piece.partial for piece in pieces if not piece.data.endswith(b"\n"))
    assert max(len(piece.data) for piece in pieces) < 300_000, "in pieces of bounded size"
    assert b"".join(piece.data for piece in pieces).rstrip(b"\n").endswith(b"a\nshort\nnever ended")


def test_faults_36_half_a_line_is_written_when_it_is_whole(keeper: Keeper, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = (
        f"os.write(1, b'half ')\nwhile not os.path.exists({str(tmp_path / 'go')!r}): pass\nos.write(1, b'and half\\n')"
    )
    generation, _ = keeper.run(python(code), log=log)
    keeper.answers()
    assert not log.exists() or log.read_bytes() == b""
    (tmp_path / "go").touch()
    keeper.of(generation, "gone")
    until(lambda: log.read_bytes() == b"half and half\n", "the whole line")


def test_no_line_is_torn_by_several_writers_on_one_pipe(keeper: Keeper, tmp_path: Path) -> None:
    log = tmp_path / "log"
    each = " ".join(program("lines.py"))
    script = "; ".join(f"{each} w.{n}/1 500 0 &" for n in range(8)).replace("&;", "&")
    keeper.of(keeper.spawn(["/bin/sh", "-c", f"{script} wait"], log=log), "gone")
    expected = 8 * 501
    until(lambda: log.read_bytes().count(b"\n") == expected, "all lines")
    written = writers.read(log.read_bytes())
    assert {worker: each.lines for (worker, _), each in written.items()} == {f"w.{n}": 500 for n in range(8)}


def test_no_line_is_torn_on_the_terminal_by_many_workers(procqs: Procqs) -> None:
    command = " ".join(program("lines.py", "w.0/1", 300, 0))
    procq = procqs(f"queues:\n  w:\n    command: {command}\n    workers: 8\n    restart: never\n").start()
    until(lambda: procq.said().count(" end\n") == 8, "all lines")
    for n in range(1, 9):
        lines = [line.partition("| ")[2] for line in procq.said().splitlines() if line.startswith(f"w.{n} ")]
        text = "".join(f"{line}\n" for line in lines if line.startswith("w.0/1"))
        assert writers.read(text.encode())[("w.0", 1)].lines == 300


@contextmanager
def logs_in_a_shell(procq: Procq, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [str(PROCQ), "logs", *arguments]
    with subprocess.Popen(command, cwd=procq.folder, env=procq.environment, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()
            process.send_signal(signal.SIGCONT)


FLOOD = "n = 0\nwhile True:\n os.write(1, b'%07d ' % n + b'x' * 992 + b'\\n')\n n += 1"


def flood(procqs: Procqs) -> Procq:
    words = "".join(f"      - {json.dumps(word)}\n" for word in python(FLOOD))
    procq = procqs(f"queues:\n  w:\n    command:\n{words}    logs:\n      file: w.log\n")
    procq.start(1)
    return procq


def test_faults_33_a_reader_that_stops_costs_the_worker_nothing_and_is_told_what_it_missed(procqs: Procqs) -> None:
    procq = flood(procqs)
    log = procq.folder / "w.log"
    with logs_in_a_shell(procq, "-f") as reader:
        assert reader.stdout is not None
        out = reader.stdout
        assert out.readline()
        reader.send_signal(signal.SIGSTOP)
        before = log.stat().st_size
        until(lambda: log.stat().st_size > before + 30_000_000, "the worker to go on writing")
        assert processes.memory(procq.info().pid) < 50_000_000, "bounds everywhere"
        reader.send_signal(signal.SIGCONT)
        assert any(b"missing here" in line for line in out), "the reader is told"


class Reader:
    """A client of a keeper that asks for all output, and then reads nothing until it is told to."""

    def __init__(self, path: str) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        self.link = core.Link(connection.detach(), "client")
        self.link.send([{"t": "logs", "workers": [], "tail": 0, "follow": True}, {"t": "info"}])
        until(lambda: any(reply["t"] == "info" for reply in self.link.drain()), "the request to be taken")

    def count(self) -> tuple[int, int]:
        """Bytes of what has arrived, and bytes that are said to be missing."""
        replies = self.link.drain()
        received = sum(len(reply["data"]) for reply in replies if reply["t"] == "output")
        return received, sum(reply["bytes"] for reply in replies if reply["t"] == "gap")


def test_faults_33_what_a_slow_reader_gets_and_what_it_is_told_to_miss_is_everything(
    procqs: Procqs, keepers: Keepers, tmp_path: Path
) -> None:
    project = procqs("").project
    project.prepare()
    keeper = keepers(run_dir=project.run_dir, keeper_socket=project.keeper_socket)
    reader = Reader(project.keeper_socket)
    lines, log = 20_000, tmp_path / "log"
    code = f"for n in range({lines}):\n os.write(1, b'y' * 999 + b'\\n')"
    keeper.of(keeper.spawn(python(code), log=log), "gone")
    until(lambda: log.stat().st_size == lines * 1000, "the file to be complete")
    received = missing = 0

    def complete() -> bool:
        nonlocal received, missing
        more, lost = reader.count()
        received, missing = received + more, missing + lost
        return received + missing >= lines * 1000

    until(complete, lambda: f"all to be accounted for; {received} received, {missing} missing")
    reader.link.close()
    assert received + missing == lines * 1000
    assert missing > 0


def test_what_waits_for_a_reader_that_dies_is_the_next_one_s_but_what_its_socket_held(
    procqs: Procqs, keepers: Keepers, tmp_path: Path
) -> None:
    """Its place is kept, as that of a control plane that sends output: one hangs and is killed, another one comes."""
    project = procqs("").project
    project.prepare()
    keeper = keepers(run_dir=project.run_dir, keeper_socket=project.keeper_socket)
    request = {"t": "logs", "workers": ["w"], "tail": 0, "follow": True, "lasting": True}
    path, lines, log = project.keeper_socket, 4_000, tmp_path / "log"
    hung = connect(path)
    hung.send([request])
    until(hung.drain, "the end of the tail")
    code = f"for n in range({lines}):\n os.write(1, b'%0199d\\n' % n)"
    keeper.of(keeper.spawn(python(code), log=log), "gone")
    until(lambda: volumes(path)["w"].lines == lines, "the keeper to have it all")
    hung.close()
    following = connect(path)
    following.send([request])
    found: list[int] = []

    def complete() -> bool:
        replies = following.drain()
        assert not [reply for reply in replies if reply["t"] == "gap"]
        found.extend(int(line) for reply in replies if reply["t"] == "output" for line in reply["data"].split())
        return found[-1:] == [lines - 1]

    until(complete, lambda: f"the last line; {len(found)} have come")
    following.close()
    assert found == list(range(found[0], lines)), "none of the rest is missing, none is doubled"
    held = int(Path("/proc/sys/net/core/wmem_default").read_text())
    # One message, of up to half a buffer, is still taken where there is any room at all.
    assert 0 < found[0] * 200 <= held * 3 // 2, "what the kernel had taken, and no more"


def test_what_a_terminal_that_goes_leaves_behind_is_in_the_account_of_its_queue(procqs: Procqs, tmp_path: Path) -> None:
    """As `procq up | less`, which is left without having read on."""
    count, done = 80_000, tmp_path / "done"
    written = sum(len(f"torrent {n} {'x' * 80}\n") for n in range(count))
    command = f"{sys.executable} {Path(__file__).parent / 'workers' / 'torrent.py'} {count} {done}"
    procq = procqs(f"queues:\n  a: {command}\n")
    reader, writer = os.pipe()
    held = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ)
    try:
        with open(writer, "wb") as stdout:
            procq.start(1, stdout=stdout)
        until(done.exists, "the worker to have written everything")
        path = procq.project.keeper_socket
        until(lambda: volumes(path)["a"].bytes == written, "the keeper to have read it")
        assert volumes(path)["a"].dropped["console"] < written / 4, "most of it waits"
    finally:
        os.close(reader)
    until(lambda: volumes(path)["a"].dropped["console"] >= written - held, lambda: f"{volumes(path)} of {written}")
    assert volumes(path)["a"].dropped["console"] <= written


def test_a_long_tail_arrives_whole_while_nothing_new_is_written(served: tuple[Keeper, Client]) -> None:
    """More than a connection takes at once: nobody but the reader itself wakes the rest of it."""
    keeper, client = served
    workers, lines = 20, 500
    code = f"for n in range({lines}):\n os.write(1, b'z' * 99 + b'\\n')"
    keeper.all_of([keeper.spawn(python(code), f"w.{n}") for n in range(workers)], "gone")
    for _ in range(20):
        pieces = list(client.logs(tail=lines))
        assert not [piece for piece in pieces if not isinstance(piece, Output)]
        assert sum(piece.data.count(b"\n") for piece in pieces if isinstance(piece, Output)) == workers * lines


def test_faults_20_39_the_file_is_complete_over_the_death_of_the_control_plane(procqs: Procqs) -> None:
    procq = flood(procqs)
    log = procq.folder / "w.log"
    for _ in range(2):
        before = log.stat().st_size
        procq.kill_control_plane()
        until(lambda before=before: log.stat().st_size > before, "more output")  # type: ignore[misc]
    procq.command("down")
    content = log.read_bytes()
    whole = content[: content.rfind(b"\n") + 1].splitlines()
    assert [int(line[:7]) for line in whole] == list(range(len(whole)))
    assert len(content) - len(whole) * 1001 < 1001


def test_logs_of_a_worker_that_has_ended_can_be_read(procqs: Procqs) -> None:
    procq = procqs("queues:\n  w:\n    command: echo last words\n    restart: never\n").start()
    until(lambda: procq.status().workers[0].state == "finished", "the worker to finish")
    assert "last words" in procq.command("logs", "w")


def test_a_log_directory_that_goes_away_disturbs_no_worker(procqs: Procqs) -> None:
    command = " ".join(program("lines.py", "w"))
    procq = procqs(f"queues:\n  w:\n    command: {command}\n    logs:\n      file: logs/w.log\n")
    (procq.folder / "logs").mkdir()
    procq.start(1)
    before = procq.workers()
    until((procq.folder / "logs" / "w.log").exists, "the log")
    (procq.folder / "logs").rename(procq.folder / "gone")
    shutil.rmtree(procq.folder / "gone")
    until(lambda: "w.1" in procq.command("logs", "w"), "its output, from memory")
    assert procq.workers() == before
