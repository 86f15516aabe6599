"""Following a file through what editors, deployments and slow writers do. Real files; every wait is for a condition."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from watchfiles import awatch

from procq import watch
from tests.watching import Seen, delete_and_recreate, emacs, follow, in_place, replace, same_size_and_time, sed, vim


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "procq.yaml"
    path.write_bytes(b"one")
    return path


def test_the_present_content_comes_first(file: Path) -> None:
    async def body(seen: Seen) -> None:
        assert await seen.next() == b"one"

    follow(file, body)


def test_what_is_known_is_not_yielded(file: Path) -> None:
    async def body(seen: Seen) -> None:
        following = asyncio.ensure_future(seen.next())
        await asyncio.sleep(0)
        file.write_bytes(b"two")
        assert await following == b"two"

    follow(file, body, known=b"one")


def test_a_directory_whose_name_is_no_unicode(tmp_path: Path) -> None:
    directory = tmp_path / os.fsdecode(b"caf\xe9")
    directory.mkdir()
    file = directory / "procq.yaml"
    file.write_bytes(b"one")

    async def body(seen: Seen) -> None:
        assert await seen.next() == b"one"
        for content in (b"two", b"three"):
            replace(file, content)
            assert await seen.next() == content

    follow(file, body)


def test_a_neighbour_whose_name_is_no_unicode(file: Path) -> None:
    async def body(seen: Seen) -> None:
        assert await seen.next() == b"one"
        for content in (b"two", b"three"):
            following = asyncio.ensure_future(seen.next())
            (file.parent / os.fsdecode(b"\xe9" + content)).touch()
            # Long enough for the watch to stumble over the name.
            await asyncio.wait([following], timeout=0.3)
            replace(file, content)
            assert await following == content

    follow(file, body)


@pytest.mark.parametrize("write", [in_place, replace, vim, emacs, sed, delete_and_recreate, same_size_and_time])
def test_every_way_of_saving_is_seen_again_and_again(file: Path, write: Callable[[Path, bytes], None]) -> None:
    async def body(seen: Seen) -> None:
        assert await seen.next() == b"one"
        for content in (b"two", b"six", b"ten"):
            write(file, content)
            assert (await seen.next()).strip() == content

    follow(file, body)


def test_a_save_of_the_same_content_yields_nothing(file: Path) -> None:
    async def body(seen: Seen) -> None:
        assert await seen.next() == b"one"
        replace(file, b"one")
        file.write_bytes(b"one")
        replace(file, b"two")
        assert await seen.next() == b"two"

    follow(file, body)


def test_a_missing_file_is_waited_for_and_its_directory_too(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "procq.yaml"

    async def body(seen: Seen) -> None:
        following = asyncio.ensure_future(seen.next())
        await asyncio.sleep(0)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"one")
        assert await following == b"one"
        shutil.rmtree(tmp_path / "a")
        following = asyncio.ensure_future(seen.next())
        path.parent.mkdir(parents=True)
        path.write_bytes(b"two")
        assert await following == b"two"

    follow(path, body)


def test_a_mounted_config_map(tmp_path: Path) -> None:
    """The file is a link through `..data`, which is swapped by a rename; the old directory is removed."""

    def publish(version: str, content: bytes) -> None:
        (tmp_path / version).mkdir()
        (tmp_path / version / "procq.yaml").write_bytes(content)
        (tmp_path / "..data_tmp").symlink_to(version)
        old = os.path.realpath(tmp_path / "..data") if (tmp_path / "..data").exists() else None
        os.replace(tmp_path / "..data_tmp", tmp_path / "..data")
        if old is not None:
            shutil.rmtree(old)

    path = tmp_path / "procq.yaml"
    path.symlink_to("..data/procq.yaml")
    publish("..1", b"one")

    async def body(seen: Seen) -> None:
        assert await seen.next() == b"one"
        for number, content in enumerate((b"two", b"six", b"ten"), start=2):
            publish(f"..{number}", content)
            assert await seen.next() == content

    follow(path, body)


def test_a_link_to_another_directory_is_followed_at_both_ends(tmp_path: Path) -> None:
    for name in ("links", "real", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "real" / "shop.yaml").write_bytes(b"one")
    (tmp_path / "other" / "shop.yaml").write_bytes(b"six")
    path = tmp_path / "links" / "procq.yaml"
    path.symlink_to("../real/shop.yaml")

    async def body(seen: Seen) -> None:
        assert await seen.next() == b"one"
        replace(tmp_path / "real" / "shop.yaml", b"two")
        assert await seen.next() == b"two"
        (tmp_path / "links" / "next").symlink_to("../other/shop.yaml")
        os.replace(tmp_path / "links" / "next", path)
        assert await seen.next() == b"six"
        replace(tmp_path / "other" / "shop.yaml", b"ten")
        assert await seen.next() == b"ten"

    follow(path, body)


def test_a_slow_writer_is_waited_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Truncated and half written, with pauses longer than the settling time: the half is never yielded."""
    refusals = asyncio.Semaphore(0)
    real = watch._open_for_writing

    def counted(path: Path) -> bool | None:
        busy = real(path)
        if busy:
            refusals.release()
        return busy

    monkeypatch.setattr(watch, "_open_for_writing", counted)

    async def body(seen: Seen) -> None:
        assert await seen.next() == b"one"
        following = asyncio.ensure_future(seen.next())
        with file.open("wb") as writer:
            for part in (b"half", b" and half"):
                writer.write(part)
                writer.flush()
                for _ in range(5):
                    await refusals.acquire()
        assert await following == b"half and half"

    follow(file, body)


def test_a_writer_that_never_closes_is_believed_in_the_end(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_PATIENCE", 0.2)

    async def body(seen: Seen) -> None:
        assert await seen.next() == b"one"
        with file.open("wb") as writer:
            writer.write(b"two")
            writer.flush()
            assert await seen.next() == b"two"

    follow(file, body)


def test_the_slow_check_sees_what_no_event_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the watch on another directory no event ever comes, as on a network file system."""
    elsewhere = file.parent / "elsewhere"
    elsewhere.mkdir()
    status = elsewhere.stat()
    monkeypatch.setattr(watch, "_directories", lambda _: ([(str(elsewhere), (status.st_dev, status.st_ino))], []))
    monkeypatch.setattr(watch, "_SLOW_CHECK_MS", 100)

    async def body(seen: Seen) -> None:
        assert await seen.next() == b"one"
        replace(file, b"two")
        assert await seen.next() == b"two"

    follow(file, body)


def test_a_file_too_large_is_cut_not_read(file: Path) -> None:
    file.write_bytes(b"x" * (3 << 20))

    async def body(seen: Seen) -> None:
        assert len(await seen.next()) == (1 << 20) + 1

    follow(file, body)


def test_a_cancelled_watch_leaves_no_thread_and_no_descriptor(file: Path) -> None:
    async def cancelled() -> None:
        async with asyncio.timeout(30):
            async with aclosing(watch.changes(file, known={str(file): b"one"})) as contents:
                following = asyncio.ensure_future(anext(contents))
                await asyncio.sleep(0)
                following.cancel()
                await asyncio.wait([following])
                assert following.cancelled()

    def left() -> list[int]:
        now = threading.active_count(), len(os.listdir("/proc/self/fd"))
        return [here - there for here, there in zip(now, before, strict=True) if here > there]

    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        asyncio.run(cancelled())
    deadline = time.monotonic() + 30
    while left() and time.monotonic() < deadline:
        time.sleep(0.01)  # the thread notices at its next step
    assert left() == []


@pytest.mark.parametrize("loop", [True, False])
def test_links_that_lead_nowhere_do_not_stop_the_watch(tmp_path: Path, loop: bool) -> None:
    path = tmp_path / "procq.yaml"
    path.symlink_to("procq.yaml" if loop else "missing/file")

    async def body(seen: Seen) -> None:
        following = asyncio.ensure_future(seen.next())
        await asyncio.sleep(0)
        replace(path, b"one")
        assert await following == b"one"

    follow(path, body)


def test_other_files_beside_it_wake_nobody(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    real = watch._look

    def counted(path: Path) -> object:
        nonlocal looks
        looks += 1
        return real(path)

    monkeypatch.setattr(watch, "_look", counted)

    async def written(log: Path, noisy: AsyncIterator[object]) -> None:
        """Writes to the log until a watch of everything has told of it."""
        told = asyncio.ensure_future(anext(noisy))
        while not told.done():
            with log.open("a") as out:
                out.write("a line\n")
            await asyncio.sleep(0.01)

    async def body(seen: Seen) -> None:
        assert await seen.next() == b"one"
        following = asyncio.ensure_future(seen.next())
        noisy = awatch(file.parent, watch_filter=None, debounce=50, step=10, recursive=False)
        log = file.with_name("emails.1.log")
        for _ in range(10):  # longer than it takes the watch to get in place and look once more
            await written(log, noisy)
        before = looks
        for _ in range(10):
            await written(log, noisy)
        assert looks == before
        await noisy.aclose()
        replace(file, b"two")
        assert await following == b"two"

    follow(file, body)
