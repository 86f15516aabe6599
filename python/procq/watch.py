"""Follows the content of a set of files through everything editors and deployments do to them.

The directories are watched, never a file: a watch on a file goes deaf when another file is renamed over it or when a
symbolic link on the way to it is swapped. Whatever happens there only means "look again"; content decides.
"""

from __future__ import annotations

import asyncio
import fcntl
import fnmatch
import glob
import os
import signal
import stat
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import ExitStack, aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

Contents = Mapping[str, bytes]
"""What the files of a set hold, by absolute path. A file that is missing or cannot be read is left out."""

_MAX_BYTES = (1 << 20) + 1
"""One more than a manifest may have: what is too large is passed on to be refused, not read to its end."""
_MAX_LINKS = 40
_MAX_FILES = 2_000
_MAX_TOTAL = 17 << 20
"""Bytes of all files. Both are more than a manifest may have: what is beyond them is refused, and need not be held."""

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
_GONE_SETTLE = 0.25
"""Seconds that a file must be away: editors rename the old one away before they write the new one."""


async def changes(
    path: Path,
    settle: float = 0.05,
    known: Contents | None = None,
    also: Callable[[], Sequence[str]] = tuple,
    missing: Callable[[bool], None] = lambda missing: None,
) -> AsyncGenerator[Contents, None]:
    """Yields the content of `path` and of the files beside it, whenever that has settled on something new.

    `also` names the others: absolute paths and patterns; it is asked again after each content. The first is the present
    content, unless it equals `known`. Content has settled when two looks find the same and nobody has a file open for
    writing; they are `settle` seconds apart, less where the kernel can tell that for sure. While `path` is missing or
    cannot be read, nothing is yielded; `missing` is told by every look whether that is so. At most 1 MiB + 1 byte of
    each is read. Close the iterator to stop watching.
    """
    last = known
    while True:
        files = _Files(os.path.abspath(path), tuple(also()))
        places = await files.places()
        async with aclosing(_wakes(places)) as wakes:
            async for _ in wakes:
                contents = _contents(await files.look())
                missing(contents is None)
                if contents is not None and contents != last:
                    contents = await _settled(files, settle, last or {})
                    if contents is not None and contents != last:
                        last = contents
                        yield contents
                if tuple(also()) != files.others or await files.places() != places:
                    break


Look = Mapping[str, tuple[tuple[int, ...], bytes]]


@dataclass(frozen=True, slots=True)
class _Places:
    """Where something must happen to matter.

    The directories to watch with their identities; the paths that lead to files, with all their leading parts; and in
    which directories any name matters that fits.
    """

    directories: dict[str, tuple[int, int]]
    leads: frozenset[str]
    fitting: dict[str, frozenset[str]]

    def matters(self, path: str) -> bool:
        """Whether a change of `path` may change what the files are or hold."""
        directory, name = os.path.split(path)
        return path in self.leads or any(fnmatch.fnmatchcase(name, each) for each in self.fitting.get(directory, ()))


class _Files:
    """A set of files: one that must be there, and others by path or pattern."""

    def __init__(self, main: str, others: tuple[str, ...]) -> None:
        self.main = main
        self.others = others

    async def look(self) -> Look | None:
        """What there is now; None where the main file is not."""
        return await self._run(self._look)

    async def busy(self, paths: Sequence[str]) -> list[bool | None]:
        """For each whether somebody has it open for writing; None where that cannot be told."""
        return await self._run(lambda: [_open_for_writing(Path(path)) for path in paths])

    async def places(self) -> _Places:
        """Where to watch for changes of it."""
        return await self._run(self._places)

    async def _run(self, what: Callable[[], T]) -> T:
        # In a thread: a disk that does not answer must not hold up the loop.
        return await asyncio.to_thread(what)

    def _look(self) -> Look | None:
        found: dict[str, tuple[tuple[int, ...], bytes]] = {}
        total = 0
        for path in self._paths():
            each = _look(Path(path))
            if each is not None and total <= _MAX_TOTAL:
                found[path] = each
                total += len(each[1])
        return found if self.main in found else None

    def _paths(self) -> list[str]:
        paths = [self.main]
        for other in self.others:
            paths += sorted(glob.glob(other)) if glob.has_magic(other) else [other]
        return list(dict.fromkeys(paths))[:_MAX_FILES]

    def _places(self) -> _Places:
        directories: dict[str, tuple[int, int]] = {}
        leads: set[str] = set()
        fitting: dict[str, set[str]] = {}

        def add(path: str) -> list[str]:
            found, names = _directories(Path(path))
            directories.update(found)
            leads.update(lead for name in names for lead in _leads(name))
            return names

        for path in self._paths():
            add(path)
        for pattern in self.others:
            for directory, name in _levels(pattern):
                for real in add(os.path.join(directory, "x")):
                    fitting.setdefault(os.path.dirname(real), set()).add(name)
        return _Places(directories, frozenset(leads), {each: frozenset(names) for each, names in fitting.items()})


def _levels(pattern: str) -> list[tuple[str, str]]:
    """Each part of a pattern that is one, with the directories in which it has to fit."""
    parts = pattern.split("/")
    found = []
    for place, part in enumerate(parts):
        if glob.has_magic(part):
            head = "/".join(parts[:place])
            directories = glob.glob(head) if glob.has_magic(head) else [head]
            found += [(directory, part) for directory in directories]
    return found


def _leads(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(2, len(parts) + 1)]


def _contents(look: Look | None) -> Contents | None:
    return None if look is None else {path: content for path, (_, content) in look.items()}


async def _wakes(places: _Places) -> AsyncGenerator[None, None]:
    """A wake when the watch is in place, for every burst of events that matter, and for every slow check."""
    from watchfiles import awatch

    held = ExitStack()
    called = {_watchable(directory, held): directory for directory in places.directories}

    def matters(_: object, path: str) -> bool:
        """Workers may log beside the manifest: what happens to other files must not wake anybody."""
        directory, name = os.path.split(path)
        return places.matters(called.get(path) or os.path.join(called.get(directory, directory), name))

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


async def _settled(files: _Files, settle: float, last: Contents) -> Contents | None:
    """The contents once two looks agree; None when the main file went away meanwhile."""
    look = await files.look()
    waited = 0.0
    while look is not None:
        # What is as it was needs no second look.
        changed = [path for path, (_, content) in look.items() if last.get(path) != content]
        busy = await files.busy(changed)
        pause = settle if None in busy else min(settle, _CLOSED_SETTLE)
        await asyncio.sleep(pause)
        again = await files.look()
        waited = waited + pause if again == look else 0.0
        busy = await files.busy(changed)
        needed = _PATIENCE if any(busy) else _GONE_SETTLE if last.keys() - look.keys() else 0.0
        if again == look and waited >= needed:
            return _contents(again)
        look = again
    return None


def _look(path: Path) -> tuple[tuple[int, ...], bytes] | None:
    """Identity, times and content of the file; None where it cannot be read or is not a regular one."""
    try:
        with open(path, "rb", opener=_open) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return None
            return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns), file.read(_MAX_BYTES)
    except OSError:
        return None


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
