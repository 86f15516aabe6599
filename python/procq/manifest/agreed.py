"""What strictyaml has agreed to, as digests of text: in memory, and in a file between runs.

The file holds digests of texts as they were written, never a text and never a value of a variable. It is believed only
from a directory that nobody else can write to, and what it says can only spare the second opinion: the meaning of a
manifest never comes from it. Nothing about it is ever an error: without it, everything is read once more.
"""

from __future__ import annotations

import atexit
import os
import re
import secrets
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import Final

SIZE: Final = 16
"""Bytes of a digest."""
MOST: Final = 16_384
"""Digests that are remembered; a manifest of a thousand queues needs a thousand and one."""
_MAGIC: Final = b"procq agreed 1\n"
_HEAD: Final = len(_MAGIC) + SIZE
_RECALL_AFTER: Final = 8
"""Unknown digests until the file is looked at: a small manifest is read as fast without it."""
_WRITE_AFTER: Final = 0.2
"""Seconds between something new and the file: a manifest of many files is written down once."""
_KEPT: Final = re.compile(r"agreed-[0-9a-f]{32}(\.[0-9a-f]{12})?")
_MOST_FILES: Final = 4
"""Of one directory: one for each version of what they depend on."""
_ABANDONED: Final = 3600.0
"""Seconds after which a file that was never finished is nobody's any more."""


def directory(environ: Mapping[str, str]) -> str | None:
    """Where the file belongs by the environment; None: nowhere."""
    for name, below in (("XDG_CACHE_HOME", "procq"), ("HOME", ".cache/procq")):
        home = environ.get(name, "")
        if os.path.isabs(home):
            return os.path.join(home, below)
    return None


class Agreed:
    """A set of digests, of which the oldest are forgotten. `key` tells what it depends on besides the texts."""

    def __init__(self, place: Callable[[], str | None], key: Callable[[], bytes]) -> None:
        """`place` is the directory of the file; both are called when the file is looked at."""
        self._place = place
        self._key = key
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._file: _File | None = None
        self._unknown = 0
        self._alone()
        os.register_at_fork(after_in_child=self._alone)

    def _alone(self) -> None:
        """No other thread is at work: at the beginning, and in a forked child, whatever they held in its parent."""
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._timer: threading.Timer | None = None

    def knows(self, digest: bytes) -> bool:
        """Whether `digest` was added, by this process or by one before it."""
        with self._lock:
            if digest not in self._known:
                self._unknown += 1
                if self._unknown == _RECALL_AFTER:
                    self._recall()
            if digest in self._known:
                self._known.move_to_end(digest)
                return True
            return False

    def add(self, digest: bytes) -> None:
        """Remembers `digest`. The file follows, in another thread or when the process ends."""
        with self._lock:
            self._known[digest] = None
            while len(self._known) > MOST:
                self._known.popitem(last=False)
            if self._file is not None and self._timer is None:
                self._timer = threading.Timer(_WRITE_AFTER, self.flush)
                self._timer.daemon = True
                self._timer.start()
                atexit.unregister(self.flush)
                atexit.register(self.flush)

    def flush(self) -> None:
        """Writes what is not in the file yet."""
        with self._writing:  # whoever comes second waits until it is written
            with self._lock:
                timer, self._timer = self._timer, None
                known = list(self._known)
            if timer is not None and self._file is not None:
                timer.cancel()
                self._file.write(known)

    def _recall(self) -> None:
        place = self._place()
        if place is not None:
            self._file = _File(place, self._key().hex())
            before = self._known
            self._known = OrderedDict.fromkeys(self._file.read())
            self._known.update(before)


class _File:
    """The file of one key in one directory, which several processes may write: the last one wins."""

    def __init__(self, place: str, key: str) -> None:
        self._place = place
        self._name = f"agreed-{key}"

    def read(self) -> list[bytes]:
        """The digests, the newest last; none where there is no file that can be believed."""
        try:
            directory = _open_directory(self._place)
            try:
                return self._read(directory)
            finally:
                os.close(directory)
        except (OSError, ValueError):
            return []

    def write(self, known: list[bytes]) -> None:
        """Adds `known` to what the file holds by now."""
        with suppress(OSError, ValueError):
            _make_directory(self._place)
            directory = _open_directory(self._place)
            try:
                with suppress(OSError, ValueError):
                    known = list({**dict.fromkeys(self._read(directory)), **dict.fromkeys(known)})
                self._replace(directory, known[-MOST:])
                _tidy(directory)
            finally:
                os.close(directory)

    def _read(self, directory: int) -> list[bytes]:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(self._name, flags, dir_fd=directory), "rb") as file:
            if not stat.S_ISREG(_trusted(file.fileno()).st_mode):
                return []
            data = file.read(_HEAD + MOST * SIZE + 1)
        body = data[_HEAD:]
        if data[:_HEAD] != _MAGIC + _checksum(body) or len(body) % SIZE:
            return []
        return [body[at : at + SIZE] for at in range(0, len(body), SIZE)]

    def _replace(self, directory: int, known: list[bytes]) -> None:
        body = b"".join(known)
        beside = f"{self._name}.{secrets.token_hex(6)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(beside, flags, 0o600, dir_fd=directory), "wb") as file:
                file.write(_MAGIC + _checksum(body) + body)
            # Not synced: what a power cut leaves of it has another checksum.
            os.rename(beside, self._name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(beside, dir_fd=directory)
            raise


def _checksum(body: bytes) -> bytes:
    return blake2b(body, digest_size=SIZE).digest()


def _make_directory(place: str) -> None:
    """The directory, and the one above it, each only in one of ours: root leaves nothing in the home of others."""
    missing: list[str] = []
    while not os.path.lexists(place) and len(missing) < 2:
        missing.append(place)
        place = os.path.dirname(place)
    for path in reversed(missing):
        if os.stat(os.path.dirname(path)).st_uid != os.geteuid():
            raise PermissionError
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)


def _open_directory(place: str) -> int:
    """Opens a directory that is ours, and in which nobody else can write. Raises OSError for any other."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _trusted(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _trusted(descriptor: int) -> os.stat_result:
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError
    return found


def _tidy(directory: int) -> None:
    """Takes out what versions before this one, and processes that were killed while they wrote, have left."""
    found = []
    for name in os.listdir(directory):
        if _KEPT.fullmatch(name):
            written = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime
            found.append((written, name))
    finished = sorted((each for each in found if "." not in each[1]), reverse=True)
    unfinished = [each for each in found if "." in each[1] and time.time() - each[0] > _ABANDONED]
    for _, name in (*finished[_MOST_FILES:], *unfinished):
        with suppress(OSError):
            os.unlink(name, dir_fd=directory)
