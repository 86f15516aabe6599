"""FAULTS 34: what becomes of workers and their lines while the disk takes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.support import processes
from tests.process.support.keeper import Event, Keeper
from tests.process.support.waiting import throughout, until

pytestmark = pytest.mark.process

LINE = 100
LINES = 100_000


def mount(*arguments: object) -> bool:
    """Whether that worked."""
    return subprocess.run(["mount", *map(str, arguments)], stderr=subprocess.DEVNULL, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """One that holds a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=1m", "procq-test", folder):
        pytest.skip("no small disk can be mounted here: that takes root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def writer(progress: Path) -> list[str]:
    """Writes numbered lines, and says in a file how many it is rid of."""
    code = f"""
import os
fd = os.open({str(progress)!r}, os.O_CREAT | os.O_WRONLY)
for n in range({LINES}):
    os.write(1, b"%0{LINE - 1}d\\n" % n)
    if n % 100 == 99:
        os.pwrite(fd, b"%d" % (n + 1), 0)
"""
    return [sys.executable, "-I", "-S", "-c", code]


def written(progress: Path) -> int:
    return int(progress.read_bytes() or b"0") if progress.exists() else 0


def troubles(keeper: Keeper, file: Path) -> list[Event]:
    keeper.pump()
    return [event for event in keeper.events if event["t"] == "log_trouble" and event["path"] == os.fsencode(file)]


def wait_until_blocked(keeper: Keeper, file: Path, progress: Path) -> None:
    """The trouble is told, and the worker does not get on."""
    until(lambda: troubles(keeper, file), "the trouble to be told")
    # As much as the keeper's queue for one file takes, a pipe, and what may have been written before.
    until(lambda: written(progress) >= 40_000, "the queue to be full")
    throughout(0.5, lambda: written(progress) < 70_000, "waiting")


def test_faults_34_a_worker_that_would_rather_wait_loses_nothing_to_a_full_disk(
    keeper: Keeper, tmp_path: Path, disk: Path
) -> None:
    file, progress = disk / "w.log", tmp_path / "progress"
    waiting = keeper.spawn(writer(progress), "w.1", log={"path": os.fsencode(file), "block": True})
    wait_until_blocked(keeper, file, progress)
    # Others go on: one with a file elsewhere, and one that lives with losses on the same disk.
    for name, log in [("other.1", tmp_path / "other.log"), ("loser.1", disk / "loser.log")]:
        keeper.of(keeper.spawn(writer(tmp_path / name), name, log=log), "gone")
        assert written(tmp_path / name) == LINES
    assert (tmp_path / "other.log").stat().st_size == LINES * LINE
    assert processes.memory(keeper.pid) < 60_000_000
    assert "exited" not in keeper.kinds(waiting)
    assert mount("-o", "remount,size=64m", disk)
    keeper.of(waiting, "gone")
    until(lambda: file.stat().st_size == LINES * LINE, "the whole file")
    assert [int(line) for line in file.read_bytes().splitlines()] == list(range(LINES))
    until(lambda: troubles(keeper, file)[-1]["errno"] == 0, "the end of the trouble")
    assert troubles(keeper, file)[-1]["dropped"] == 0


def test_faults_34_a_worker_that_waits_for_a_full_disk_can_be_stopped(keeper: Keeper, tmp_path: Path) -> None:
    full, progress = tmp_path / "full", tmp_path / "progress"
    full.symlink_to("/dev/full")
    generation = keeper.spawn(writer(progress), log={"path": os.fsencode(full), "block": True})
    wait_until_blocked(keeper, full, progress)
    keeper.stop(generation)
    assert keeper.of(generation, "exited")["status"]["signal"] == 15
    keeper.of(generation, "gone")


def test_who_changes_his_mind_is_let_go(keeper: Keeper, tmp_path: Path) -> None:
    full, progress = tmp_path / "full", tmp_path / "progress"
    full.symlink_to("/dev/full")
    log = {"path": os.fsencode(full), "block": True}
    generation = keeper.spawn(writer(progress), log=log)
    wait_until_blocked(keeper, full, progress)
    stop = {"signal": 15, "grace": 1000}
    message = {
        "t": "configure",
        "worker": "w.1",
        "generation": generation,
        "stop": stop,
        "log": {**log, "block": False},
    }
    keeper.send(message)
    keeper.of(generation, "gone")
    assert written(progress) == LINES
