"""A log file that is rotated quickly, outsiders who do to it what outsiders do, and the proof of every line.

Who follows by segment opens every file of the directory that it has not seen, and keeps it open until it has been
deleted: so it reads all that procq deletes for age as well, and no inode is taken for another. Compressed files are
held against what they were made of; what was compressed before anybody saw it is read from there.
"""

from __future__ import annotations

import gzip
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from procq import core
from tests.process.support.keeper import Keeper, program
from tests.process.support.waiting import PATIENCE
from tests.process.workers.flood import AHEAD, LINE, LINES

ROTATE = 64 * 1024
KEEP = 2 * AHEAD + 2
"""More than the worker may be ahead of us, and room for the short files that outsiders cause."""


@dataclass(slots=True)
class Segment:
    """One file, whatever its name is by now."""

    fd: int
    position: int = 0
    largest: int = 0
    lines: list[int] = field(default_factory=list)
    deleted: bool = False
    at_end: bool = True

    def read(self) -> None:
        """Takes the lines that have come. The last one may just be coming: a write is seen page by page."""
        while data := whole_lines(os.pread(self.fd, 1 << 20, self.position)):
            self.lines += [int(data[at : at + 10]) for at in range(0, len(data), LINE)]
            self.position += len(data)
            self.largest = max(self.largest, self.position)
        self.at_end = os.fstat(self.fd).st_size == self.position


def whole_lines(data: bytes) -> bytes:
    """Without the part of a line at the end. Every line has the same length."""
    data = data[: len(data) - len(data) % LINE]
    assert all(data[at + LINE - 1] == 10 for at in range(0, len(data), LINE)), "torn lines"
    return data


class Directory:
    """Follows by segment, and meddles."""

    def __init__(self, file: Path, credits: Path) -> None:
        self.file = file
        self.segments: dict[int, Segment] = {}
        self.finished: list[Segment] = []
        self.packed: dict[int, tuple[int, list[int]]] = {}
        self.unpacked: list[list[int]] = []
        self.gaps_after: list[int] = []
        self.deeds = {"renamed": 0, "truncated": 0, "deleted": 0}
        self._credits = os.open(credits, os.O_RDWR | os.O_NONBLOCK)
        self._granted = 0
        self.highest = -1

    def follow(self) -> None:
        """One look at everything; lets the worker go on as far as we have come."""
        with os.scandir(self.file.parent) as entries:
            for entry in entries:
                if entry.name.endswith(".gz"):
                    self._unpack(entry)
                elif not entry.name.endswith((".idx", ".tmp")) and entry.inode() not in self.segments:
                    self._open(entry.path)
        for inode, segment in list(self.segments.items()):
            gone = os.fstat(segment.fd).st_nlink == 0 and not segment.deleted
            segment.read()
            if segment.lines:
                self.highest = max(self.highest, segment.lines[-1])
            if gone:
                self._close(inode)
        self._forget_removed()
        if (seen := (self.highest + 1) // LINES) > self._granted:
            os.write(self._credits, b"+" * (seen - self._granted))
            self._granted = seen

    def _unpack(self, entry: os.DirEntry[str]) -> None:
        """It has its name when it is whole. Kept open as well, so that its inode is not used again."""
        if entry.inode() in self.packed:
            return
        with suppress(FileNotFoundError):
            fd = os.open(entry.path, os.O_RDONLY)
            data = gzip.decompress(os.pread(fd, 2 * ROTATE, 0))
            assert len(data) % LINE == 0, "torn lines"
            lines = [int(data[at : at + 10]) for at in range(0, len(data), LINE)]
            self.highest = max(self.highest, *lines)
            known = self.packed.setdefault(os.fstat(fd).st_ino, (fd, lines))
            if known[0] != fd:
                os.close(fd)

    def _forget_removed(self) -> None:
        for inode, (fd, lines) in list(self.packed.items()):
            if os.fstat(fd).st_nlink == 0:
                self.unpacked.append(lines)
                os.close(fd)
                del self.packed[inode]

    def _open(self, path: str | Path) -> Segment | None:
        try:
            fd = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        return self._adopt(fd)

    def _adopt(self, fd: int) -> Segment:
        known = self.segments.setdefault(os.fstat(fd).st_ino, Segment(fd))
        if known.fd != fd:
            os.close(fd)
        return known

    def _close(self, inode: int) -> None:
        segment = self.segments.pop(inode)
        os.close(segment.fd)
        self.finished.append(segment)

    # What outsiders do. The file is missing for a moment while procq rotates it: then nothing is done.

    def rename(self) -> None:
        target = self.file.with_name(f"moved-{self.deeds['renamed']}")
        self.file.rename(target)
        self.deeds["renamed"] += 1

    def delete(self) -> None:
        """First under another name, so that what was deleted is known for certain."""
        target = self.file.with_name("grave")
        self.file.rename(target)
        segment = self._open(target)
        assert segment
        segment.deleted = True
        target.unlink()
        self.deeds["deleted"] += 1

    def truncate(self) -> None:
        """Copy and truncate, as logrotate does; what comes between the two is lost, and nothing else may be."""
        segment = self._adopt(os.open(self.file, os.O_RDWR))
        segment.read()
        if not segment.lines:
            return
        os.ftruncate(segment.fd, 0)
        self.gaps_after.append(segment.lines[-1])
        segment.position = 0
        self.deeds["truncated"] += 1

    def meddle(self, dice: Random) -> None:
        """One deed, chosen at random; none if procq was about to do the same."""
        deed: Callable[[], None] = dice.choice([self.rename, self.truncate, self.delete])
        with suppress(FileNotFoundError):
            deed()

    def verify(self, lines: int) -> int:
        """Every line is in one file, once; those between copy and truncation in none. Returns how many."""
        self.finished += self.segments.values()
        self._hold_packed_against_plain()
        self._forget_what_came_again()
        for segment in self.finished:
            assert segment.lines == sorted(segment.lines)
            assert segment.largest <= ROTATE
            assert segment.at_end, "the last line of a file is torn"
        found = sorted(number for segment in self.finished for number in segment.lines)
        expected, lost = 0, 0
        for number in found:
            assert number >= expected, f"line {number} is there twice"
            if number > expected:
                assert expected - 1 in self.gaps_after, f"lines {expected} to {number - 1} are missing"
                assert (number - expected) * LINE <= ROTATE
                lost += number - expected
            expected = number + 1
        assert expected == lines or expected - 1 in self.gaps_after, f"the last lines are missing: {expected}"
        return lost + lines - expected

    def _hold_packed_against_plain(self) -> None:
        # Deleted ones first: what they hold may have come again in the file after them, which counts then.
        ordered = sorted(enumerate(self.finished), key=lambda pair: not pair[1].deleted)
        seen = {line: number for number, segment in ordered for line in segment.lines}
        for lines in [*self.unpacked, *(lines for _, lines in self.packed.values())]:
            assert lines == sorted(set(lines))
            assert len({seen[line] for line in lines if line in seen}) <= 1, "more than what it was made of"
            # All of them, or those that came between a look at the plain file and its truncation by an outsider.
            if unseen := [line for line in lines if line not in seen]:
                self.finished.append(Segment(-1, largest=len(lines) * LINE, lines=unseen))

    def _forget_what_came_again(self) -> None:
        """What was written into a file that had been deleted is in the next one as well: nobody could have read it."""
        elsewhere = {line for segment in self.finished if not segment.deleted for line in segment.lines}
        for segment in self.finished:
            while segment.deleted and segment.lines and segment.lines[-1] in elsewhere:
                segment.lines.pop()

    def close(self) -> None:
        os.close(self._credits)
        for fd, _ in self.packed.values():
            os.close(fd)
        for inode in list(self.segments):
            self._close(inode)


class Follower:
    """A client that follows the worker's output through the keeper."""

    def __init__(self, socket_path: str) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(socket_path)
        self._link = core.Link(connection.detach(), "client")
        self._link.send([{"t": "logs", "workers": ["w.1"], "tail": 0, "follow": True}])
        self.next = 0
        self.missing = 0

    def take(self) -> None:
        """Every line in its turn, or a gap of so many bytes."""
        gap = 0
        for reply in self._link.drain():
            if reply["t"] == "gap":
                gap += reply["bytes"]
            elif reply["t"] == "output":
                self._lines(reply["data"], gap)
                gap = 0
        self.next += gap // LINE
        self.missing += gap // LINE

    def _lines(self, data: bytes, gap: int) -> None:
        assert (gap % LINE, len(data) % LINE) == (0, 0)
        self.next += gap // LINE
        self.missing += gap // LINE
        for at in range(0, len(data), LINE):
            assert int(data[at : at + 10]) == self.next
            self.next += 1

    def close(self) -> None:
        self._link.close()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trial has shown."""

    lines: int
    files: int
    seconds: float
    lost: int
    deeds: dict[str, int]
    missing_live: int
    compressed: int = 0

    def __str__(self) -> str:
        rate = self.lines * LINE / self.seconds / 1e6
        deeds = ", ".join(f"{count} × {deed}" for deed, count in self.deeds.items())
        return (
            f"{self.lines} lines in {self.files} files of {ROTATE >> 10} KiB at {rate:.1f} MB/s, {self.compressed} of "
            f"them compressed, {deeds}: none lost but {self.lost} between copy and truncation; {self.missing_live} "
            "were told to the live follower as a gap"
        )


def rotation_trial(
    keeper: Keeper,
    socket_path: str,
    folder: Path,
    *,
    chunks: int,
    rate: float,
    every: float,
    seed: int,
    compress: bool = False,
) -> Outcome:
    """A worker floods one file; each `every` seconds somebody meddles. Fails for any line that is not accounted for."""
    (folder / "logs").mkdir()
    credits, file = folder / "credits", folder / "logs" / "w.log"
    os.mkfifo(credits)
    directory, follower, dice = Directory(file, credits), Follower(socket_path), Random(seed)
    try:
        log: dict[str, Any] = {"path": os.fsencode(file), "rotate": ROTATE, "keep": KEEP, "compress": compress}
        began = time.monotonic()
        generation = keeper.spawn(program("flood.py", credits, chunks, rate), log=log)
        next_deed, deadline, over = began + every, began + PATIENCE + 2 * chunks * LINE * LINES / rate, False
        lines = chunks * LINES
        while not (over and directory.highest == lines - 1 and follower.next == lines):
            directory.follow()
            follower.take()
            if (now := time.monotonic()) >= next_deed and directory.highest < lines - 10 * LINES:
                directory.meddle(dice)
                next_deed = now + every * dice.uniform(0.5, 1.5)
            if not over:
                keeper.pump()
                over = "gone" in keeper.kinds(generation)
            assert now < deadline, (
                f"{directory.highest} in files, {follower.next} live, of {lines}; {keeper.events[-5:]}"
            )
        seconds = time.monotonic() - began
        assert not [event for event in keeper.events if event["t"] == "log_trouble"]
        lost = directory.verify(lines)
        packed = len(directory.packed) + len(directory.unpacked)
        return Outcome(lines, len(directory.finished), seconds, lost, directory.deeds, follower.missing, packed)
    finally:
        follower.close()
        directory.close()
