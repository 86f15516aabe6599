"""Log files of workers, read back as lines, with the times that `FILE.idx` or the lines themselves tell.

Reading happens here, in the process of the command line, and with the rights of the worker's user where it has one: a
link that a worker has planted must not make a root's `procq logs` show any file.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO

from procq.cli.logsegments import Index, Reader, Segment, listed, open_segment, seekable

_BLOCK = 256 << 10
_LONGEST = 1 << 20
"""Bytes after which a line that is read backwards is cut."""
_PREFIXED = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (\S+) ([|!]) (.*)", re.DOTALL)


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


class Files:
    """The files of one place as they were listed; what is written later is not looked at.

    `complain` hears why a file cannot be read, the others are read all the same.
    """

    def __init__(self, place: Place, complain: Callable[[str], None]) -> None:
        self._place = place
        self._complain = complain
        self._complained: set[str] = set()
        self._segments: list[Segment] = []
        self.list()

    def list(self) -> None:
        """Looks which files there are, and how long."""
        with self._told(), _rights(self._place.owner):
            self._segments = listed(self._place.path, owned=bool(self._place.owner))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Errors are told once each."""
        try:
            yield
        except (OSError, EOFError, zlib.error) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
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
            if since is not None and segment.written < since * 1e9:
                continue
            opened = self._open(segment)
            if opened is not None:
                with self._told(), opened[0] as file:
                    yield from self._lines(number, file, opened[1], since)

    def _lines(self, number: int, file: Reader, index: Index, since: float | None) -> Iterator[tuple[Position, Line]]:
        size = self._segments[number].size
        end = sys.maxsize if size is None else size
        offset = 0 if since is None else index.start(since)
        file.seek(offset)
        while offset < end and (raw := file.readline(end - offset)):
            yield (number, offset), self._line(raw.removesuffix(b"\n"), index.at(offset))
            offset += len(raw)

    def backward(self) -> Iterator[tuple[Position, Line]]:
        """All lines, newest first."""
        for number, segment in reversed([*enumerate(self._segments)]):
            opened = self._open(segment)
            if opened is None:
                continue
            with self._told(), seekable(opened[0]) as file:
                size = file.seek(0, os.SEEK_END) if segment.size is None else segment.size
                for offset, raw in _backward(file, size):
                    yield (number, offset), self._line(raw, opened[1].at(offset))

    def _line(self, raw: bytes, at: float | None) -> Line:
        if self._place.format == "prefixed" and (found := _PREFIXED.fullmatch(raw)):
            stream = "stderr" if found[3] == b"!" else "stdout"
            return Line(_time(found[1].decode()), found[2].decode("utf-8", "replace"), stream, found[4])
        if self._place.format == "json" and raw.startswith(b'{"time"'):
            # What stands there from a time with another format is no object of ours.
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                told = json.loads(raw)
                data = b64decode(told["bytes"]) if "bytes" in told else told["line"].encode()
                return Line(_time(told["time"]), str(told["worker"]), str(told["stream"]), data)
        return Line(at, self._place.label, None, raw)

    def _open(self, segment: Segment) -> tuple[Reader, Index] | None:
        """The segment as it is by now; None where it cannot be opened, which is told, or is gone."""
        opened = None
        with self._told(), _rights(self._place.owner):
            opened = open_segment(self._place.path, segment, owned=bool(self._place.owner))
        return opened


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


def _backward(file: IO[bytes], size: int) -> Iterator[tuple[int, bytes]]:
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
