"""Following a file together with those beside it that it names, by path and by pattern."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from procq import watch
from tests.watching import Seen, delete_and_recreate, follow, in_place, replace, vim


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "procq.yaml"
    path.write_bytes(b"one")
    return path


def names(contents: watch.Contents, directory: Path) -> dict[str, bytes]:
    return {os.path.relpath(path, directory): content for path, content in contents.items()}


def test_files_beside_it_are_followed_by_path_and_by_pattern(file: Path) -> None:
    here = file.parent
    (here / "queues").mkdir()
    (here / ".env").write_bytes(b"env")

    async def body(seen: Seen) -> None:
        def now(**files: bytes) -> dict[str, bytes]:
            return {"procq.yaml": b"one", ".env": b"env"} | {f"queues/{k}.yaml": v for k, v in files.items()}

        assert names(await seen.all(), here) == now()
        (here / "queues" / "a.yaml").write_bytes(b"a")
        assert names(await seen.all(), here) == now(a=b"a")
        replace(here / "queues" / "a.yaml", b"aa")
        assert names(await seen.all(), here) == now(a=b"aa")
        (here / "queues" / "b.yaml").write_bytes(b"b")
        assert names(await seen.all(), here) == now(a=b"aa", b=b"b")
        (here / "queues" / "a.yaml").unlink()
        assert names(await seen.all(), here) == now(b=b"b")
        (here / ".env").unlink()
        assert names(await seen.all(), here) == {"procq.yaml": b"one", "queues/b.yaml": b"b"}
        replace(here / ".env", b"new")
        assert names(await seen.all(), here)[".env"] == b"new"

    follow(file, body, also=[f"{here}/queues/*.yaml", f"{here}/.env"])


def test_what_is_no_regular_file_is_as_good_as_missing(file: Path) -> None:
    """A FIFO without a writer reads as empty: as a file of variables that would take all of them away."""
    beside = file.with_name(".env")
    beside.write_bytes(b"A=1")

    async def body(seen: Seen) -> None:
        assert await seen.all() == {str(file): b"one", str(beside): b"A=1"}
        fifo = file.with_name("fifo")
        os.mkfifo(fifo)
        os.replace(fifo, beside)
        assert await seen.all() == {str(file): b"one"}
        replace(beside, b"A=2")
        assert await seen.all() == {str(file): b"one", str(beside): b"A=2"}

    follow(file, body, also=(str(beside),))


@pytest.mark.parametrize("write", [in_place, replace, vim, delete_and_recreate])
def test_no_way_of_saving_a_file_looks_like_its_end(file: Path, write: Callable[[Path, bytes], None]) -> None:
    other = file.parent / "other.yaml"
    other.write_bytes(b"0")

    async def body(seen: Seen) -> None:
        await seen.all()
        for content in (b"1", b"2", b"3"):
            write(other, content)
            assert (await seen.all())[str(other)] == content

    follow(file, body, also=[f"{file.parent}/o*.yaml"])


def test_directories_that_a_pattern_matches_come_and_go(file: Path) -> None:
    here = file.parent

    async def body(seen: Seen) -> None:
        assert names(await seen.all(), here) == {"procq.yaml": b"one"}
        for team in ("a", "b"):
            (here / "teams" / team).mkdir(parents=True)
            (here / "teams" / team / "queues.yaml").write_bytes(team.encode())
            while f"teams/{team}/queues.yaml" not in names(await seen.all(), here):
                pass
        shutil.rmtree(here / "teams" / "a")
        assert names(await seen.all(), here) == {"procq.yaml": b"one", "teams/b/queues.yaml": b"b"}

    follow(file, body, also=[f"{here}/teams/*/queues.yaml"])


def test_a_pattern_in_a_mounted_config_map(file: Path) -> None:
    mount = file.parent / "queues"
    mount.mkdir()

    def publish(version: str, content: bytes) -> None:
        (mount / version).mkdir()
        (mount / version / "a.yaml").write_bytes(content)
        (mount / "..data_tmp").symlink_to(version)
        os.replace(mount / "..data_tmp", mount / "..data")

    publish("..1", b"one")
    (mount / "a.yaml").symlink_to("..data/a.yaml")

    async def body(seen: Seen) -> None:
        assert (await seen.all())[str(mount / "a.yaml")] == b"one"
        for number, content in enumerate((b"two", b"six"), start=2):
            publish(f"..{number}", content)
            assert (await seen.all())[str(mount / "a.yaml")] == content

    follow(file, body, also=[f"{mount}/*.yaml"])


def test_a_slow_writer_of_one_file_holds_the_whole_set_back(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = file.parent / "other.yaml"
    other.write_bytes(b"old")
    refusals, loops = asyncio.Semaphore(0), list[asyncio.AbstractEventLoop]()
    real = watch._open_for_writing

    def counted(path: Path) -> bool | None:
        busy = real(path)
        if busy:
            loops[0].call_soon_threadsafe(refusals.release)
        return busy

    monkeypatch.setattr(watch, "_open_for_writing", counted)

    async def body(seen: Seen) -> None:
        loops.append(asyncio.get_running_loop())
        await seen.all()
        following = asyncio.ensure_future(seen.all())
        with other.open("wb") as writer:
            writer.write(b"half")
            writer.flush()
            replace(file, b"two")
            for _ in range(5):
                await refusals.acquire()
            assert not following.done()
            writer.write(b" and half")
        assert names(await following, file.parent) == {"procq.yaml": b"two", "other.yaml": b"half and half"}

    follow(file, body, also=[str(other)])


def test_the_set_may_change_after_each_content(file: Path) -> None:
    others = [file.parent / "a.yaml", file.parent / "b.yaml"]
    for other in others:
        other.write_bytes(b"x")
    also: list[str] = []

    async def body(seen: Seen) -> None:
        assert list(await seen.all()) == [str(file)]
        also.append(str(others[0]))
        assert list(await seen.all()) == [str(file), str(others[0])]
        also[:] = [str(others[1])]
        assert list(await seen.all()) == [str(file), str(others[1])]
        others[0].write_bytes(b"nobody cares")
        others[1].write_bytes(b"y")
        assert (await seen.all())[str(others[1])] == b"y"

    follow(file, body, also=also)


def test_a_set_beyond_every_bound_is_not_held(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond the bounds is refused by whoever loads it; watching goes on."""
    for number in range(10):
        (file.parent / f"q{number}.yaml").write_bytes(b"x" * 100)
    monkeypatch.setattr(watch, "_MAX_FILES", 8)
    monkeypatch.setattr(watch, "_MAX_TOTAL", 450)

    async def body(seen: Seen) -> None:
        assert list(names(await seen.all(), file.parent)) == ["procq.yaml", *(f"q{n}.yaml" for n in range(5))]
        monkeypatch.setattr(watch, "_MAX_TOTAL", 10**6)
        replace(file, b"two")
        assert list(names(await seen.all(), file.parent)) == ["procq.yaml", *(f"q{n}.yaml" for n in range(7))]

    follow(file, body, also=[f"{file.parent}/q*.yaml"])
