"""FAULTS 35 and 38: rotation loses and repeats nothing, whatever others do. The long trial is in tests/soak."""

from __future__ import annotations

import errno
import os
import resource
import struct
import sys
import tempfile
from pathlib import Path

import pytest

from tests.process.support.fixtures import Keepers, Procqs
from tests.process.support.keeper import Keeper, program
from tests.process.support.rotating import Outcome, rotation_trial
from tests.process.support.trials import SEED
from tests.process.support.waiting import until
from tests.process.workers.flood import AHEAD, LINE, LINES

pytestmark = pytest.mark.process


def test_faults_35_every_line_is_in_one_file_and_the_live_follower_whatever_others_do(
    procqs: Procqs, keepers: Keepers, tmp_path: Path
) -> None:
    project = procqs("").project
    project.prepare()
    keeper = keepers(run_dir=project.run_dir, keeper_socket=project.keeper_socket)
    outcome: Outcome = rotation_trial(
        keeper, project.keeper_socket, tmp_path, chunks=120, rate=20e6, every=0.02, seed=SEED
    )
    print(outcome)
    assert outcome.files > 100
    assert all(count > 0 for count in outcome.deeds.values()), outcome.deeds


def test_faults_35_every_line_is_in_one_file_while_closed_files_are_compressed(
    procqs: Procqs, keepers: Keepers, tmp_path: Path
) -> None:
    project = procqs("").project
    project.prepare()
    keeper = keepers(run_dir=project.run_dir, keeper_socket=project.keeper_socket)
    outcome: Outcome = rotation_trial(
        keeper, project.keeper_socket, tmp_path, chunks=120, rate=20e6, every=0.02, seed=SEED, compress=True
    )
    print(outcome)
    assert outcome.files > 100
    assert outcome.compressed > 10
    assert all(count > 0 for count in outcome.deeds.values()), outcome.deeds


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", f"import os\n{code}"]


def test_faults_38_one_pipe_for_both_streams_keeps_their_order(keeper: Keeper, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "os.dup2(1, 2)\nfor n in range(2000):\n os.write(1 + n % 2, b'%d\\n' % n)"
    keeper.of(keeper.spawn(python(code), log=log), "gone")
    until(lambda: log.exists() and log.read_bytes().count(b"\n") == 2000, "all lines")
    assert [int(line) for line in log.read_bytes().split()] == list(range(2000))


def test_lines_of_both_streams_are_told_apart_in_a_formatted_file(keeper: Keeper, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "os.write(1, b'out\\n')\nos.write(2, b'err\\n')"
    keeper.of(keeper.spawn(python(code), log={"path": os.fsencode(log), "format": "prefixed"}), "gone")
    until(lambda: log.exists() and log.read_bytes().count(b"\n") == 2, "both lines")
    lines = sorted(line.split("Z ", 1)[1] for line in log.read_text().splitlines())
    assert lines == ["w.1 ! err", "w.1 | out"]


def test_what_is_rotated_goes_by_the_latest_settings_while_the_worker_runs(keeper: Keeper, tmp_path: Path) -> None:
    log, credits = tmp_path / "log", tmp_path / "credits"
    os.mkfifo(credits)
    granting = os.open(credits, os.O_RDWR)
    try:
        path = os.fsencode(log)
        generation, _ = keeper.run(program("flood.py", credits, 30, 50e6), log={"path": path})
        until(lambda: log.exists() and log.stat().st_size == AHEAD * LINE * LINES, "as much as needs no leave")
        assert sorted(path.name for path in tmp_path.glob("log*")) == ["log", "log.idx"]
        settings = {"path": path, "rotate": LINE * LINES, "keep": 3}
        stop = {"signal": 15, "grace": 1000}
        keeper.send({"t": "configure", "worker": "w.1", "generation": generation, "stop": stop, "log": settings})
        keeper.answers()
        os.write(granting, b"+" * (30 - AHEAD))
        keeper.of(generation, "gone")
        until(lambda: log.read_bytes()[-LINE:][:10] == b"%010d" % (30 * LINES - 1), "the last line")
        files = {path.name: path.stat().st_size for path in tmp_path.glob("log*") if path.suffix != ".idx"}
        assert files == dict.fromkeys(["log", "log.1", "log.2", "log.3"], LINE * LINES)
        times = [struct.unpack("<QQ", (tmp_path / f"{name}.idx").read_bytes()[:16]) for name in sorted(files)]
        assert [offset for offset, _ in times] == [0] * 4
        assert sorted(times, key=lambda record: -record[1]) == times, "the newest first"
    finally:
        os.close(granting)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may act for others")
def test_the_files_of_a_worker_with_a_user_are_made_with_his_rights(keeper: Keeper) -> None:
    me = {"uid": 47_110, "gid": 47_111, "groups": [47_112]}
    # Not below pytest's own directory, into which only we may go.
    with tempfile.TemporaryDirectory() as name:
        folder, home = Path(name), Path(name) / "home"
        folder.chmod(0o755)
        home.mkdir()
        os.chown(home, me["uid"], me["gid"])  # type: ignore[arg-type]
        (folder / "victim").write_text("precious")
        (home / "link").symlink_to(folder / "victim")
        for file in [home / "logs" / "w.log", home / "link"]:
            log = {"path": os.fsencode(file), "rotate": 10, "keep": 2}
            keeper.of(keeper.spawn(["/bin/echo", "a line of some length"], log=log, user=me), "gone")
        trouble = keeper.wait(lambda event: event["t"] == "log_trouble", "the link to be refused")
        assert (trouble["path"], trouble["errno"]) == (os.fsencode(home / "link"), errno.ELOOP)
        assert (folder / "victim").read_text() == "precious"
        until((home / "logs" / "w.log.idx").exists, "the file and its index")
        for made in [home / "logs", *(home / "logs").iterdir()]:
            assert (made.stat().st_uid, made.stat().st_gid) == (me["uid"], me["gid"]), made


def test_a_file_of_which_none_is_kept_loses_nothing_new_when_there_cannot_be_another(
    keeper: Keeper, tmp_path: Path
) -> None:
    """It is removed first. The lines for which that was done wait for a file that has a name."""
    log, credits = tmp_path / "log", tmp_path / "credits"
    os.mkfifo(credits)
    line = b"x" * 4000
    code = f"credits = os.open({str(credits)!r}, os.O_RDONLY)\nwhile os.read(credits, 1):\n"
    code += " os.write(1, b'x' * 4000 + b'\\n')"
    keeper.spawn(python(code), log={"path": os.fsencode(log), "rotate": 4096, "keep": 0})
    with credits.open("wb", buffering=0) as more:
        more.write(b"1")
        until(lambda: log.exists() and log.read_bytes() == line + b"\n", "the first line")
        soft, hard = resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE)
        taken = {int(number) for number in os.listdir(f"/proc/{keeper.pid}/fd")}
        resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE, (min(set(range(soft)) - taken), hard))
        more.write(b"1")
        keeper.wait(lambda event: event["t"] == "log_trouble", "the trouble")
        resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE, (soft, hard))
        until(lambda: log.exists() and log.read_bytes() == line + b"\n", "the second line, in a file of its own")
