"""The files that make up a log: FILE.3.gz, FILE.2, FILE.1, FILE. Which there are, and the way into each.

They are renamed, compressed and removed while they are read. A file is known by its inode; compressed, it is another
file, which has the old one's in its header.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import struct
import tempfile
from bisect import bisect_right
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from shutil import copyfileobj
from typing import IO, BinaryIO

_RECORD = struct.Struct("<QQ")
_HEADER = struct.Struct("<3sB6xH4sQQQQ")
"""Of a gzip file with a field that says what it was made of: device, inode, bytes, nanoseconds."""
_FIELD = b"PQ\x20\x00"
_HAS_FIELD = 4
_BLOCK = 256 << 10
_IN_MEMORY = 16 << 20
"""Bytes of a compressed file that are read backwards without a temporary file."""
_ATTEMPTS = 5
_MOST_LINKS = 40
"""As many as the kernel follows."""

Identity = tuple[int, int]
"""Device and inode."""


class Unpacked(gzip.GzipFile):
    """A compressed file as it was. Closes the file below as well."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file)
        self._file = file

    def close(self) -> None:
        """As of any file."""
        super().close()
        self._file.close()


Reader = IO[bytes] | Unpacked


@dataclass(frozen=True, slots=True)
class Segment:
    """One of the files. `origin` is the file that was written; compressed, it is another one than `own`.

    `size` counts bytes as they were written, None where nobody knows; `written` nanoseconds since the Unix epoch.
    """

    path: str
    own: Identity
    stamp: tuple[int, int]
    """When the file that is there was last written, and its bytes: closed ones do not change."""
    origin: Identity
    size: int | None
    written: int
    compressed: bool = False

    @property
    def index(self) -> str:
        """The path of its index."""
        return f"{self.path.removesuffix('.gz') if self.compressed else self.path}.idx"


@dataclass(frozen=True, slots=True)
class Index:
    """When the bytes of a file were read, as far as that is known."""

    offsets: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def at(self, offset: int) -> float | None:
        """When the byte at this offset was read, or a little later."""
        found = bisect_right(self.offsets, offset)
        return self.times[found - 1] if found else None

    def start(self, since: float) -> int:
        """The first byte that may have been read at that time or later."""
        found = bisect_right(self.times, since)
        return self.offsets[found - 1] if found else 0


def listed(path: str, *, owned: bool) -> list[Segment]:
    """What there is, oldest first. `owned`: a link is not followed. Raises OSError."""
    for _ in range(_ATTEMPTS):
        segments = _seen(path, owned=owned)
        # A rotation meanwhile gives files the names of others: one of them may not have been seen under any.
        if all(map(_is_there, segments)):
            break
    return segments


def _seen(path: str, *, owned: bool) -> list[Segment]:
    """As `listed`, at one look."""
    base = path if owned else _end_of(path)
    if base is None:
        return []
    directory, name = os.path.split(base)
    number = re.compile(re.escape(name) + r"\.([0-9]{1,9})(\.gz)?")
    try:
        found = [match for entry in os.listdir(directory) if (match := number.fullmatch(entry))]
    except FileNotFoundError:
        return []
    # Of two forms of one file the compressed one first: it is only there when it is whole.
    found.sort(key=lambda match: (-int(match[1]), match[2] is None))
    segments: list[Segment] = []
    for each, compressed in [*((match[0], match[2] is not None) for match in found), (name, False)]:
        segment = _segment(os.path.join(directory, each), compressed)
        if segment is not None and not (segments and _is_twin(segments[-1], segment)):
            segments.append(segment)
    return segments


def open_segment(path: str, wanted: Segment, *, owned: bool) -> tuple[Reader, Index] | None:
    """A segment, wherever it is by now and in whatever form, and its index; None where it is gone. Raises OSError."""
    is_open = wanted.path == (path if owned else _end_of(path))
    for attempt in range(_ATTEMPTS):
        # Most have not moved. The one that is written to may be another one by now that has its inode.
        segment = wanted if attempt == 0 and not is_open else _found(listed(path, owned=owned), wanted)
        if segment is None:
            return None
        with suppress(FileNotFoundError):
            file = _opened(segment.path)
            index = _index(segment.index)
            # A rotation in between would have given us the index of another file.
            there, now = os.fstat(file.fileno()), os.stat(segment.path)
            unchanged = is_open or segment is not wanted or _stamp(now) == wanted.stamp
            if unchanged and _identity(there) == _identity(now) == segment.own:
                return Unpacked(file) if segment.compressed else file, index
            file.close()
    return None


def seekable(file: Reader) -> IO[bytes]:
    """The same bytes, for one who goes backwards in them. Raises OSError, EOFError, zlib.error."""
    if not isinstance(file, Unpacked):
        return file
    whole = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
    try:
        copyfileobj(file, whole, _BLOCK)
    except BaseException:
        whole.close()
        raise
    finally:
        file.close()
    return whole


def _found(segments: Iterable[Segment], wanted: Segment) -> Segment | None:
    """Where a segment is now. An inode is used again, so the oldest that can be it; whatever has it, if none can."""
    same = [segment for segment in segments if segment.origin == wanted.origin]
    for segment in same:
        if segment.written >= wanted.written and (segment.size is None or segment.size >= (wanted.size or 0)):
            return segment
    return same[0] if same else None


def _segment(path: str, compressed: bool) -> Segment | None:
    """What is there; None where it is nothing to be read. Raises OSError for a link: somebody has planted it."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        raise OSError("it is a link, which is not followed")
    if not stat.S_ISREG(status.st_mode):
        return None
    own, stamp = _identity(status), _stamp(status)
    if not compressed:
        return Segment(path, own, stamp, own, status.st_size, status.st_mtime_ns)
    with suppress(OSError, struct.error), _opened(path) as file:
        magic, flags, _, name, device, inode, size, written = _HEADER.unpack(file.read(_HEADER.size))
        if magic == b"\x1f\x8b\x08" and flags & _HAS_FIELD and name == _FIELD:
            return Segment(path, own, stamp, (device, inode), size, written, True)
    return Segment(path, own, stamp, own, None, status.st_mtime_ns, True)


def _is_there(segment: Segment) -> bool:
    try:
        return _identity(os.lstat(segment.path)) == segment.own
    except OSError:
        return False


def _is_twin(compressed: Segment, plain: Segment) -> bool:
    """Whether both have the same bytes: the compressed one is done, and the other not yet removed."""
    made_of = compressed.origin, compressed.size, compressed.written
    return compressed.compressed and not plain.compressed and made_of == (plain.own, plain.size, plain.written)


def _end_of(path: str) -> str | None:
    """Where a path leads after all links at its end. None for what only looks like a file's name: `/dev/stdout` may
    lead to a regular file, but to another one in each process.
    """
    for _ in range(_MOST_LINKS):
        if path.startswith("/proc/") or (path.startswith("/dev/") and not path.startswith("/dev/shm/")):
            return None
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except OSError:
            return path
    return None


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_mtime_ns, status.st_size


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def _opened(path: str) -> BinaryIO:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW
    return open(os.open(path, flags), "rb", buffering=_BLOCK)


def _index(path: str) -> Index:
    """Empty where there is none, or none that can be: lines then have no times."""
    try:
        with _opened(path) as file:
            data = file.read()
    except OSError:
        return Index()
    index, last = Index(), (-1, -1)
    for record in _RECORD.iter_unpack(data[: len(data) - len(data) % _RECORD.size]):
        # Both ascend; what does not was torn.
        if record[0] > last[0] and record[1] >= last[1]:
            last = record
            index.offsets.append(record[0])
            index.times.append(record[1] / 1e9)
    return index
