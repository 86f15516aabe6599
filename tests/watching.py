"""Following files in tests, and the ways in which programs save them."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path

from procq import watch

Body = Callable[["Seen"], Awaitable[None]]


class Seen:
    """What a watch has yielded, one at a time."""

    def __init__(self, path: Path, contents: AsyncIterator[watch.Contents]) -> None:
        self._path = str(path)
        self._contents = contents

    async def next(self) -> bytes:
        return (await self.all())[self._path]

    async def all(self) -> watch.Contents:
        return await anext(self._contents)


def follow(path: Path, body: Body, known: bytes | None = None, also: Sequence[str] = ()) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            before = None if known is None else {str(path): known}
            watching = watch.changes(path, settle=0.02, known=before, also=lambda: also)
            async with aclosing(watching) as contents:
                await body(Seen(path, contents))

    asyncio.run(main())


def replace(path: Path, content: bytes) -> None:
    """As editors that write beside the file and rename over it."""
    beside = path.with_name(".new")
    beside.write_bytes(content)
    os.replace(beside, path)


def in_place(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def vim(path: Path, content: bytes) -> None:
    backup = path.with_name(path.name + "~")
    os.replace(path, backup)
    path.write_bytes(content)
    backup.unlink()


def emacs(path: Path, content: bytes) -> None:
    shutil.copy(path, path.with_name(path.name + "~"))
    lock = path.with_name(".#" + path.name)
    lock.symlink_to("user@host.1")
    path.write_bytes(content)
    lock.unlink()


def sed(path: Path, content: bytes) -> None:
    subprocess.run(["sed", "-i", f"s/.*/{content.decode()}/", path], check=True)


def delete_and_recreate(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def same_size_and_time(path: Path, content: bytes) -> None:
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
