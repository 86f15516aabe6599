"""Workers in a terminal of their own (`tty`): FAULTS 28."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.support import processes
from tests.process.support.fixtures import Procqs
from tests.process.support.keeper import Keeper, program, read_when_written
from tests.process.support.oracle import keeper_excess, settled
from tests.process.support.users import SOMEBODY, UID, folder_for_all, needs_root
from tests.process.support.waiting import throughout, until

pytestmark = pytest.mark.process


def look(keeper: Keeper, tmp_path: Path, **spawn: Any) -> dict[str, Any]:
    file = tmp_path / "found"
    keeper.spawn(program("surroundings.py", file), tty=True, **spawn)
    found: dict[str, Any] = json.loads(read_when_written(file))
    return found


def expect(keeper: Keeper, folder: Path, script: str, wanted: bytes, **spawn: Any) -> None:
    """A shell that runs `script` in a terminal leaves exactly this in its log."""
    log = folder / "log"
    generation = keeper.spawn(["/bin/sh", "-c", script], tty=True, log=log, **spawn)
    keeper.of(generation, "gone")

    def written() -> bytes:
        return log.read_bytes() if log.exists() else b""

    until(lambda: written() == wanted, lambda: f"its output; there is {written()!r}", 5.0)


def test_output_is_a_terminal_that_controls_the_session_and_input_is_none(keeper: Keeper, tmp_path: Path) -> None:
    found = look(keeper, tmp_path)
    assert found["terminals"] == [False, True, True]
    descriptors = found["descriptors"]
    assert descriptors.pop("0") == "/dev/null"
    assert descriptors.pop("3").startswith("socket:")
    assert sorted(descriptors) == ["1", "2"]
    assert descriptors["1"] == descriptors["2"]
    assert descriptors["1"].startswith("/dev/pts/")
    assert found["foreground"] == found["group"] == found["session"] == found["pid"]
    assert found["size"] == [80, 24], "the keeper has no terminal whose size it could take"


def test_lines_end_as_they_were_written(keeper: Keeper, tmp_path: Path) -> None:
    expect(keeper, tmp_path, r"printf 'a\nb\r\nc\tc\n'; echo error >&2", b"a\nb\r\nc\tc\nerror\n")


def test_the_terminal_can_be_opened_by_its_names(keeper: Keeper, tmp_path: Path) -> None:
    script = (
        "echo one > /dev/tty; echo two > /dev/stdout; echo three > /dev/stderr; echo four > $(readlink /proc/$$/fd/2)"
    )
    expect(keeper, tmp_path, script, b"one\ntwo\nthree\nfour\n")


@pytest.fixture
def folder() -> Iterator[Path]:
    yield from folder_for_all()


@needs_root
def test_the_terminal_is_its_user_s(keeper: Keeper, folder: Path) -> None:
    script = "echo one > /dev/tty; echo two > /dev/stdout; stat -L -c %u /proc/self/fd/1"
    expect(keeper, folder, script, f"one\ntwo\n{UID}\n".encode(), user=SOMEBODY)


def test_faults_28_the_tail_of_much_output_is_there(keeper: Keeper, tmp_path: Path) -> None:
    """More than a terminal holds, and the end at once: nothing waits until it has been read."""
    wanted = b"".join(b"%d\n" % number for number in range(1, 4644)) + b"end"
    for n in range(20):
        folder = tmp_path / str(n)
        folder.mkdir()
        expect(keeper, folder, "seq 1 4643; printf end", wanted)


def test_a_worker_that_closes_its_streams_keeps_its_terminal(keeper: Keeper, tmp_path: Path) -> None:
    """Closing our end would hang it up, and SIGHUP would end it."""
    script = f"exec >/dev/null 2>&1; echo $$ > {tmp_path / 'draft'}; mv {tmp_path / 'draft'} {tmp_path / 'quiet'}; "
    script += f"while [ ! -e {tmp_path / 'go'} ]; do :; done; echo again > /dev/tty; exit 3"
    log = tmp_path / "log"
    generation = keeper.spawn(["/bin/sh", "-c", script], tty=True, log=log)
    pid = int(read_when_written(tmp_path / "quiet"))
    keeper.answers()
    throughout(0.05, lambda: processes.exists(pid), "the life of a worker without output")
    (tmp_path / "go").touch()
    assert keeper.of(generation, "exited")["status"]["code"] == 3
    keeper.of(generation, "gone")
    until(lambda: log.exists() and log.read_bytes() == b"again\n", "what it wrote to its terminal")


def test_a_descendant_that_holds_the_terminal_does_not_hide_the_end_and_is_ended(
    keeper: Keeper, tmp_path: Path
) -> None:
    inner = " ".join(["setsid", *program("stubborn.py", tmp_path / "inner")])
    script = f"{inner} & while [ ! -e {tmp_path / 'inner'} ]; do :; done; echo leader; exit 4"
    log = tmp_path / "log"
    generation = keeper.spawn(["/bin/sh", "-c", script], tty=True, log=log, grace=0.1)
    assert keeper.of(generation, "exited")["status"]["code"] == 4
    child = int((tmp_path / "inner").read_text())
    assert processes.exists(child)
    assert keeper.of(generation, "gone")["killed"] == 1
    assert not processes.exists(child)
    until(lambda: log.exists() and log.read_bytes() == b"leader\n", "the output of both")


def test_a_stray_that_holds_only_the_terminal_is_charged_by_it(keeper: Keeper, tmp_path: Path) -> None:
    """Without mark, cookie and session: what it writes to tells whose it is."""
    reset = "import os,resource,sys; resource.setrlimit(10, (-1, -1)); os.execve(sys.argv[1], sys.argv[1:], {})"
    stubborn = program("stubborn.py", tmp_path / "inner")
    command = ["setsid", stubborn[0], "-c", reset, *stubborn]
    words = " ".join(f"'{word}'" for word in command)
    script = f"({words} &) ; while [ ! -e {tmp_path / 'inner'} ]; do :; done"
    generation = keeper.spawn(["/bin/sh", "-c", script], tty=True, grace=0.1)
    assert keeper.of(generation, "gone")["killed"] == 1
    assert not any(event["t"] == "stray" for event in keeper.events)


def test_many_terminals_leave_no_descriptor(keeper: Keeper) -> None:
    for n in range(30):
        generations = [keeper.spawn(["/bin/sh", "-c", "echo x"], f"w.{k}", tty=True) for k in range(10)]
        keeper.all_of(generations, "gone")
        assert n or all(keeper.kinds(generation)[-1] == "gone" for generation in generations)
    failed = [keeper.spawn(["/no/such/program"], f"w.{k}", tty=True) for k in range(10)]
    keeper.all_of(failed, "gone")
    running = [keeper.run(["sleep", "1000"], f"w.{k}", tty=True)[0] for k in range(10)]
    assert settled(lambda: keeper_excess(keeper.pid, keeper.baseline, 10)) == []
    for generation in running:
        keeper.stop(generation)
    keeper.all_of(running, "gone")
    assert settled(lambda: keeper_excess(keeper.pid, keeper.baseline, 0)) == []


def test_a_stop_and_the_death_of_the_keeper_reach_it(keeper: Keeper, tmp_path: Path) -> None:
    generation, _ = keeper.run(program("stubborn.py", tmp_path / "one"), "w.1", tty=True, grace=0.1)
    pid = int(read_when_written(tmp_path / "one"))
    keeper.stop(generation)
    assert keeper.of(generation, "gone")["killed"] == 1
    keeper.spawn(program("stubborn.py", tmp_path / "two"), "w.2", tty=True)
    pid = int(read_when_written(tmp_path / "two"))
    os.kill(keeper.pid, signal.SIGKILL)
    until(lambda: not processes.exists(pid), "its end")
    keeper.sentinel.wait()


def test_a_manifest_s_terminal_is_merged_into_one_stream(procqs: Procqs) -> None:
    procq = procqs("""\
queues:
  w:
    command: 'test -t 1 && test -t 2 && ! test -t 0 && echo in a terminal >&2; exec sleep 1000'
    shell: yes
    tty: yes
    logs:
      file: w.log
""")
    procq.start(1)
    log = procq.folder / "w.log"
    until(lambda: log.exists() and log.read_text() == "in a terminal\n", lambda: f"its line; {procq.said()}")
