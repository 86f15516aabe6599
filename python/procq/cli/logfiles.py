"""Log files of workers, read back: FILE.2, FILE.1, FILE, with the times that `FILE.idx` or the lines themselves tell.

Reading happens here, in the process of the command line, and with the rights of the worker's user where it has one: a
link that a worker has planted must not make a root's `procq logs` show any file.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO

_RECORD = struct.Struct("<QQ")
_BLOCK = 256 << 10
_LONGEST = 1 << 20
"""Bytes after which a line that is read backwards is cut."""
_PREFIXED = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (\S+) ([|!]) (.*)", re.DOTALL)
_ATTEMPTS = 5
_MOST_LINKS = 40
"""As many as the kernel follows."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end. `at` is in seconds since the Unix epoch; it and `stream` are None where nobody knows."""

    at: float | None
    worker: str
    stream: str | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """One file and the workers that write it. `owner` are user, group and further groups whose rights it deserves."""

    path: str
    format: str
    workers: tuple[str, ...]
    owner: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """Who wrote a line that does not say it: the worker, or what all of them have in common."""
        if len(self.workers) == 1:
            return self.workers[0]
        queues = {worker.rpartition(".")[0] for worker in self.workers}
        return queues.pop() if len(queues) == 1 else os.path.basename(self.path)

    @property
    def tells_workers(self) -> bool:
        """Whether each line can be told to be of one worker."""
        return self.format != "text" or len(self.workers) == 1


Position = tuple[int, int]
"""Which file, counted from the oldest, and the byte in it."""


@dataclass(frozen=True, slots=True)
class _Segment:
    identity: tuple[int, int]
    size: int
    written: float


@dataclass(frozen=True, slots=True)
class _Index:
    """When the bytes of a file were read, as far as that is known."""

    offsets: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def at(self, offset: int) -> float | None:
        found = bisect_right(self.offsets, offset)
        return self.times[found - 1] if found else None

    def start(self, since: float) -> int:
        """The first byte that may have been read at that time or later."""
        found = bisect_right(self.times, since)
        return self.offsets[found - 1] if found else 0


class Files:
    """The files of one place as they are now; what is written later is not looked at.

    `complain` hears why a file cannot be read, the others are read all the same.
    """

    def __init__(self, place: Place, complain: Callable[[str], None]) -> None:
        self._place = place
        self._complain = complain
        self._complained: set[str] = set()
        self._segments: list[_Segment] = []
        with self._told():
            self._segments = [segment for _, segment in _listed(place)]

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Opens with the right rights; errors are told once each."""
        try:
            with _rights(self._place.owner):
                yield
        except OSError as error:
            why = error.strerror or str(error)
            if why not in self._complained:
                self._complained.add(why)
                self._complain(why)

    @property
    def began(self) -> float | None:
        """When the oldest line was written; None where there is none, or nobody knows."""
        return next((line.at for _, line in self.forward()), None)

    def forward(self, since: float | None = None) -> Iterator[tuple[Position, Line]]:
        """All lines, oldest first; with `since` without most of those before it."""
        for number, segment in enumerate(self._segments):
            if since is not None and segment.written < since:
                continue
            opened = self._open(segment)
            if opened is None:
                continue
            file, index = opened
            with file:
                offset = 0 if since is None else index.start(since)
                file.seek(offset)
                while offset < segment.size and (raw := file.readline(segment.size - offset)):
                    yield (number, offset), self._line(raw.removesuffix(b"\n"), index.at(offset))
                    offset += len(raw)

    def backward(self) -> Iterator[tuple[Position, Line]]:
        """All lines, newest first."""
        for number in reversed(range(len(self._segments))):
            opened = self._open(self._segments[number])
            if opened is None:
                continue
            file, index = opened
            with file:
                for offset, raw in _backward(file, self._segments[number].size):
                    yield (number, offset), self._line(raw, index.at(offset))

    def _line(self, raw: bytes, at: float | None) -> Line:
        if self._place.format == "prefixed" and (found := _PREFIXED.fullmatch(raw)):
            stream = "stderr" if found[3] == b"!" else "stdout"
            return Line(_time(found[1].decode()), found[2].decode("utf-8", "replace"), stream, found[4])
        if self._place.format == "json" and raw.startswith(b'{"time"'):
            # What stands there from a time with another format is no object of ours.
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                told = json.loads(raw)
                return Line(_time(told["time"]), str(told["worker"]), str(told["stream"]), told["line"].encode())
        return Line(at, self._place.label, None, raw)

    def _open(self, segment: _Segment) -> tuple[BinaryIO, _Index] | None:
        """The file, wherever it has been renamed to by now, and its index; None where it cannot be opened."""
        with self._told():
            for _ in range(_ATTEMPTS):
                path = next((path for path, each in _listed(self._place) if each.identity == segment.identity), None)
                if path is None:
                    return None
                with contextlib.suppress(FileNotFoundError):
                    file = _opened(path, self._place)
                    index = _index(path, self._place)
                    # A rotation in between would have given us the index of another file.
                    if _identity(os.fstat(file.fileno())) == _identity(os.stat(path)) == segment.identity:
                        return file, index
                    file.close()
        return None


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@contextlib.contextmanager
def _rights(owner: tuple[int, ...]) -> Iterator[None]:
    """Opens files with the rights of somebody else, where we are root and may."""
    if not owner or os.geteuid() != 0:
        yield
        return
    uid, gid, *groups = owner
    before = os.getegid(), os.getgroups()
    try:
        os.setgroups(groups)
        os.setegid(gid)
        os.seteuid(uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(before[0])
        os.setgroups(before[1])


def _listed(place: Place) -> list[tuple[str, _Segment]]:
    """Path and identity of what there is, oldest first."""
    base = place.path if place.owner else _end_of(place.path)
    if base is None:
        return []
    directory, name = os.path.split(base)
    number = re.compile(re.escape(name) + r"\.([0-9]{1,9})")
    try:
        found = {int(match[1]): entry for entry in os.listdir(directory) if (match := number.fullmatch(entry))}
    except FileNotFoundError:
        return []
    names = [*(found[key] for key in sorted(found, reverse=True)), name]
    segments = []
    for each in names:
        path = os.path.join(directory, each)
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                raise OSError("it is a link, which is not followed")
            if stat.S_ISREG(status.st_mode):
                segments.append((path, _Segment(_identity(status), status.st_size, status.st_mtime)))
    return segments


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


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _opened(path: str, place: Place) -> BinaryIO:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW
    return open(os.open(path, flags), "rb", buffering=_BLOCK)


def _index(path: str, place: Place) -> _Index:
    """Empty where there is none, or none that can be: lines then have no times."""
    try:
        with _opened(f"{path}.idx", place) as file:
            data = file.read()
    except OSError:
        return _Index()
    index, last = _Index(), (-1, -1)
    for record in _RECORD.iter_unpack(data[: len(data) - len(data) % _RECORD.size]):
        # Both ascend; what does not was torn.
        if record[0] > last[0] and record[1] >= last[1]:
            last = record
            index.offsets.append(record[0])
            index.times.append(record[1] / 1e9)
    return index


def _backward(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of each line, the last one first."""
    position, rest = size, b""
    ended = False
    while position > 0:
        step = min(_BLOCK, position)
        position -= step
        file.seek(position)
        block = file.read(step)
        if not ended:
            block, ended = block.removesuffix(b"\n"), True
        parts = (block + rest).split(b"\n")
        end = position + len(block) + len(rest)
        for part in reversed(parts[1:]):
            end -= len(part)
            yield end, part
            end -= 1
        rest = parts[0]
        if len(rest) > _LONGEST:
            yield position, rest
            rest = b""
    if size:
        yield 0, rest
