"""Follows the content of one file through everything editors and deployments do to it.

The directories are watched, never the file: a watch on the file goes deaf when another file is renamed over it or when
a symbolic link on the way to it is swapped. Whatever happens there only means "look again"; content decides.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, aclosing, suppress
from pathlib import Path

_MAX_BYTES = (1 << 20) + 1
"""One more than a manifest may have: what is too large is passed on to be refused, not read to its end."""
_MAX_LINKS = 40

# Idle cost of watchfiles' thread, which wakes at every step (share of one core, measured on a shared 2-core machine):
# 50 ms: 0.125 %, 100 ms: 0.049 %, 200 ms: 0.035 %, 400 ms: 0.016 %. All of procq may use 0.3 % with nobody watching.
# A change is seen one or two steps after it happened: at 40 ms a save feels immediate, and most of the budget is left.
_STEP_MS = 40
_DEBOUNCE_MS = 100
_SLOW_CHECK_MS = 10_000
"""How often to look without having been told: network file systems tell nothing, and directories may be renamed."""
_PATIENCE = 3.0
"""Seconds that unchanged content is held back while somebody has the file open for writing."""
_CLOSED_SETTLE = 0.01
"""Seconds between two looks where the kernel says that nobody has the file open for writing."""


async def changes(path: Path, settle: float = 0.05, known: bytes | None = None) -> AsyncGenerator[bytes, None]:
    """Yields the content of `path` whenever it has settled on something else than was last yielded.

    The first is the present content, unless it equals `known`. Content has settled when two looks find the same and
    nobody has the file open for writing; they are `settle` seconds apart, less where the kernel can tell that for sure.
    A file that is missing or cannot be read yields
    nothing. At most 1 MiB + 1 byte is read. Close the iterator to stop watching.
    """
    last = known
    while True:
        links, names = _directories(path)
        async with aclosing(_wakes([directory for directory, _ in links], names)) as wakes:
            async for _ in wakes:
                content = read(path)
                if content is not None and content != last:
                    content = await _settled(path, settle)
                    if content is not None and content != last:
                        last = content
                        yield content
                if _directories(path) != (links, names):
                    break


async def _wakes(directories: Sequence[str], names: Sequence[str]) -> AsyncGenerator[None, None]:
    """A wake when the watch is in place, for every burst of events about `names`, and for every slow check."""
    from watchfiles import awatch

    held = ExitStack()
    called = {_watchable(directory, held): directory for directory in directories}

    def matters(_: object, path: str) -> bool:
        """Workers may log beside the manifest: what happens to other files must not wake anybody."""
        directory, name = os.path.split(path)
        changed = called.get(path) or os.path.join(called.get(directory, directory), name)
        return any(f"{wanted}/".startswith(f"{changed}/") for wanted in names)

    events = awatch(
        *called,
        watch_filter=matters,
        debounce=_DEBOUNCE_MS,
        step=_STEP_MS,
        rust_timeout=_SLOW_CHECK_MS,
        yield_on_timeout=True,
        recursive=False,
        ignore_permission_denied=True,
    )
    # Its first step puts the watch in place; only a look taken after that misses nothing.
    first = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    try:
        yield None
        with suppress(FileNotFoundError):  # a directory went away just now: the caller finds others
            await first
            yield None
            async for _ in events:
                yield None
    except ExceptionGroup as group:
        # watchfiles stumbles over the names of other files that are no Unicode. Another watch is begun; not at once,
        # for such a file may be written to all the time.
        if not all("Unable to decode path" in str(error) for error in group.exceptions):
            raise group.exceptions[0] from None
        await asyncio.sleep(_DEBOUNCE_MS / 1000)
    finally:
        first.cancel()
        await asyncio.wait([first])
        await events.aclose()
        held.close()


def _watchable(directory: str, held: ExitStack) -> str:
    """The directory under a name that watchfiles takes, which is Unicode."""
    try:
        directory.encode()
    except UnicodeEncodeError:
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        held.callback(os.close, descriptor)
        return f"/proc/self/fd/{descriptor}"
    return directory


async def _settled(path: Path, settle: float) -> bytes | None:
    """The content once two looks agree; None when the file went away meanwhile."""
    content = _look(path)
    waited = 0.0
    while content is not None:
        pause = min(settle, _CLOSED_SETTLE) if _open_for_writing(path) is False else settle
        await asyncio.sleep(pause)
        again = _look(path)
        waited = waited + pause if again == content else 0.0
        if again == content and (waited >= _PATIENCE or not _open_for_writing(path)):
            return again[1]
        content = again
    return None


def _look(path: Path) -> tuple[tuple[int, ...], bytes] | None:
    """Identity, times and content of the file."""
    try:
        with open(path, "rb", opener=_open) as file:
            status = os.fstat(file.fileno())
            return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns), file.read(_MAX_BYTES)
    except OSError:
        return None


def read(path: Path) -> bytes | None:
    """The content, as much as a manifest may have and a byte more; None where it cannot be read. Never waits."""
    found = _look(path)
    return None if found is None else found[1]


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)


def _open_for_writing(path: Path) -> bool | None:
    """Whether a process has the file open for writing: the kernel then grants no read lease on it.

    None where leases do not exist, or the file is somebody else's: two equal looks have to do.
    """
    try:
        with open(path, "rb", opener=_open) as file:
            # The lease is held for microseconds; should a writer come just then, its signal must not end the process.
            fcntl.fcntl(file.fileno(), fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(file.fileno(), fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(file.fileno(), fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def _directories(path: Path) -> tuple[list[tuple[str, tuple[int, int]]], list[str]]:
    """The directories in which a change may change what `path` leads to, each with its identity, and the paths that do.

    The directory of the path, and that of every symbolic link on the way to the real file. Where one does not exist,
    its nearest ancestor stands in.
    """
    found: dict[str, tuple[int, int]] = {}
    names = []
    pending = os.path.abspath(path)
    for _ in range(_MAX_LINKS):
        names.append(pending)
        link = _first_link(pending)
        directory, identity = _existing(os.path.dirname(link or pending))
        found[directory] = identity
        try:
            target = os.readlink(link) if link is not None else None
        except OSError:
            break  # swapped just now: the event of that swap comes
        if link is None or target is None:
            break
        pending = os.path.normpath(os.path.join(os.path.dirname(link), target)) + pending[len(link) :]
    return list(found.items()), names


def _first_link(path: str) -> str | None:
    """The shortest leading part of an absolute path that is a symbolic link."""
    parts = path.split("/")
    leads = ("/".join(parts[:end]) for end in range(2, len(parts) + 1))
    return next((lead for lead in leads if os.path.islink(lead)), None)


def _existing(directory: str) -> tuple[str, tuple[int, int]]:
    """The directory or its nearest ancestor that exists, and its identity."""
    while True:
        try:
            status = os.stat(directory)
        except OSError:
            directory = os.path.dirname(directory)
        else:
            return directory, (status.st_dev, status.st_ino)
