"""FAULTS 34: what becomes of workers and their lines while the disk takes nothing."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.support import processes
from tests.process.support.keeper import Event, Keeper
from tests.process.support.waiting import throughout, until

pytestmark = pytest.mark.process

LINE = 100
LINES = 100_000
LAST = 1_000


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


def writer(progress: Path, go: Path = Path("/")) -> list[str]:
    """Writes numbered lines, and says in a file how many it is rid of. The last thousand wait until `go` is there."""
    code = f"""
import os, time
fd = os.open({str(progress)!r}, os.O_CREAT | os.O_WRONLY)
for n in range({LINES}):
    while n == {LINES - LAST} and not os.path.exists({str(go)!r}):
        time.sleep(0.01)
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


def lines_of(content: bytes) -> list[int]:
    """The numbers in a file. The last line may not be whole yet."""
    return [int(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def test_faults_34_a_directory_that_is_removed_is_made_again_and_no_line_after_that_is_missing(
    keeper: Keeper, tmp_path: Path
) -> None:
    folder, progress, go = tmp_path / "logs", tmp_path / "progress", tmp_path / "go"
    file = folder / "w.log"
    removed: list[int] = []
    generation = keeper.spawn(writer(progress, go), log={"path": os.fsencode(file), "rotate": 200_000, "keep": 100})
    while len(removed) < 20 and written(progress) < LINES - LAST:
        if file.exists():
            # Out of the way first: what was removed is then known for certain.
            grave = tmp_path / f"grave-{len(removed)}"
            folder.rename(grave)
            fds = [os.open(path, os.O_RDONLY) for path in grave.iterdir() if path.suffix != ".idx"]
            shutil.rmtree(grave)
            before = max((n for fd in fds for n in lines_of(os.pread(fd, 1 << 20, 0))), default=-1)
            removed.append(before)
            for fd in fds:
                os.close(fd)
        keeper.pump()
    go.touch()
    assert keeper.of(generation, "exited")["status"]["code"] == 0, "the worker did not notice"
    assert len(removed) > 3

    def found() -> list[int]:
        files = [path for path in folder.iterdir() if path.suffix != ".idx"]
        return sorted(n for path in files for n in lines_of(path.read_bytes()))

    until(lambda: found()[-1:] == [LINES - 1], "the last line")
    rest = found()
    assert rest == list(range(rest[0], LINES))
    # A file that was removed as soon as it was there had no line.
    assert rest[0] <= max(removed) + 1, "what was written after the last removal is there from its first line"
    assert not troubles(keeper, file)


def obstructed(path: Path) -> Callable[[], None]:
    path.mkdir(parents=True)
    return path.rmdir


def looped(path: Path) -> Callable[[], None]:
    path.symlink_to(path)
    return path.unlink


def unread(path: Path) -> Callable[[], None]:
    os.mkfifo(path)
    return path.unlink


@pytest.mark.parametrize(
    ("obstacle", "why"), [(obstructed, errno.EISDIR), (looped, errno.ELOOP), (unread, errno.ENXIO)]
)
def test_faults_34_what_stands_in_the_place_of_a_log_file_is_told_and_costs_no_worker(
    keeper: Keeper, tmp_path: Path, obstacle: Callable[[Path], Callable[[], None]], why: int
) -> None:
    file = tmp_path / "w.log"
    out_of_the_way = obstacle(file)
    generation = keeper.spawn(["/bin/echo", "hello"], log=file)
    assert keeper.of(generation, "exited")["status"]["code"] == 0
    keeper.of(generation, "gone")
    until(lambda: troubles(keeper, file), "the trouble")
    assert (troubles(keeper, file)[0]["errno"], troubles(keeper, file)[0]["problem"]) == (why, "data")
    out_of_the_way()
    until(lambda: file.is_file() and file.read_bytes() == b"hello\n", "the line, once it can be written")
    until(lambda: troubles(keeper, file)[-1]["errno"] == 0, "the end of the trouble")
    assert troubles(keeper, file)[-1]["dropped"] == 0


def test_faults_34_a_disk_that_becomes_writable_again_gets_what_waited(
    keeper: Keeper, tmp_path: Path, disk: Path
) -> None:
    file = disk / "w.log"
    assert mount("-o", "remount,ro", disk)
    generation = keeper.spawn(["/bin/echo", "hello"], log=file)
    keeper.of(generation, "gone")
    until(lambda: troubles(keeper, file), "the trouble")
    assert troubles(keeper, file)[0]["errno"] == errno.EROFS
    assert mount("-o", "remount,rw", disk)
    until(lambda: file.exists() and file.read_bytes() == b"hello\n", "the line")


def test_faults_34_a_limit_on_the_size_of_files_ends_nobody(keeper: Keeper, tmp_path: Path) -> None:
    """SIGXFSZ would end the keeper; EFBIG is a refusal like others, as a full quota is."""
    file, progress = tmp_path / "w.log", tmp_path / "progress"
    soft, hard = resource.prlimit(keeper.pid, resource.RLIMIT_FSIZE)
    # A worker takes the limits of procq unless it has its own; this one writes nothing but its progress.
    resource.prlimit(keeper.pid, resource.RLIMIT_FSIZE, (1 << 20, hard))
    generation = keeper.spawn(writer(progress), log=file)
    keeper.of(generation, "gone")
    until(lambda: troubles(keeper, file), "the trouble")
    assert troubles(keeper, file)[0]["errno"] == errno.EFBIG
    resource.prlimit(keeper.pid, resource.RLIMIT_FSIZE, (soft, hard))
    until(lambda: troubles(keeper, file)[-1]["errno"] == 0, "the end of the trouble")
    lost = troubles(keeper, file)[-1]["dropped"]
    until(lambda: file.stat().st_size == LINES * LINE - lost, "all that was not dropped")
    content = file.read_bytes()
    assert content.endswith(b"\n")
    numbers = lines_of(content)
    assert numbers == sorted(set(numbers))


def test_troubles_with_log_files_are_told_to_a_control_plane_that_comes_later(keeper: Keeper, tmp_path: Path) -> None:
    file = tmp_path / "w.log"
    file.mkdir()
    keeper.spawn(["/bin/sh", "-c", "echo hello; sleep 1000"], log=file)
    until(lambda: troubles(keeper, file), "the trouble")
    count = len(troubles(keeper, file))
    keeper.send({"t": "hello", "oldest": 1, "newest": 1})
    until(lambda: len(troubles(keeper, file)) > count, "the same again")
    assert troubles(keeper, file)[-1] == troubles(keeper, file)[0]
