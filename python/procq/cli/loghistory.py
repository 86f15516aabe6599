"""What workers have written, from memory and from files, each line once and in the order of time.

What memory holds of a worker is the end of what it has written, and the file may hold that as well, or not yet. So
where memory begins is looked up in the file, by the lines themselves, and from there on only memory counts.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from procq.cli.logfiles import Files, Line, Place, Position
from procq.client import Output

_SLACK = 1.0
"""Seconds that times of memory and of files may differ."""

_Numbered = deque[tuple[Position, Line]]


class Assembler:
    """Makes lines of the pieces in which output arrives."""

    def __init__(self, *, join: bool = False) -> None:
        self._join = join
        self._open: dict[tuple[str, str], bytes] = {}

    def lines(self, piece: Output) -> Iterator[Line]:
        """The lines that end in this piece. A part of a line is one, unless parts are to be joined."""
        key = piece.worker, piece.stream
        data = self._open.pop(key, b"") + piece.data
        if piece.partial and self._join:
            whole, newline, self._open[key] = data.rpartition(b"\n")
            if not newline:
                return
            data = whole
        for line in data.removesuffix(b"\n").split(b"\n"):
            yield Line(piece.at, piece.worker, piece.stream, line)

    def rest(self) -> Iterator[Line]:
        """Lines that never ended."""
        for (worker, stream), data in self._open.items():
            yield Line(None, worker, stream, data)


class History:
    """The files of one place, beside what memory holds of its workers, oldest first."""

    def __init__(
        self, place: Place, memory: Sequence[Output], wanted: frozenset[str], complain: Callable[[str], None]
    ) -> None:
        self._place = place
        self._files = Files(place, complain)
        self._wanted = wanted
        assembler = Assembler(join=place.format == "text")
        lines = [line for piece in memory for line in assembler.lines(piece)]
        lines += assembler.rest()
        self._before: list[Line] = []
        if not place.tells_workers:
            self._before, lines = self._where_all_are_remembered(lines)
        self.memory = [*self._before, *lines]
        self._remembered: dict[str, list[Line]] = {}
        for line in lines:
            self._remembered.setdefault(self._key(line), []).append(line)

    @property
    def workers(self) -> frozenset[str]:
        """Whose lines these are."""
        return self._wanted

    @property
    def lags(self) -> bool:
        """Whether the files end before memory begins: what is in between has not been written yet, or never will be."""
        return any(self._is_behind(key, lines) for key, lines in self._ends().items())

    def look_again(self) -> None:
        """Takes the files as they are now."""
        self._files.list()

    def since(self, since: float | None) -> Iterator[Line]:
        """The lines of the files that memory does not hold; with `since` without most of those before it."""
        cuts = {key: self._cut(key, lines) for key, lines in self._ends().items()}
        for position, line in self._files.forward(since):
            cut = cuts.get(self._key(line))
            if (cut is None or position < cut) and self._is_wanted(line):
                yield line

    def tail(self, count: int) -> list[Line]:
        """The last so many lines of each worker, those of memory included."""
        keys = self._wanted if self._place.tells_workers else {self._place.label}
        needed = {key: max(0, count - len(self._remembered.get(key, []))) for key in keys}
        found = self._by_key(self._back(needed) if any(needed.values()) else ())
        tails = []
        for key in keys:
            cut = self._cut(key, found[key])
            older = [line for position, line in found[key] if cut is None or position < cut]
            tails.append([*self._before, *older, *self._remembered.get(key, [])][-count:] if count else [])
        return in_order(tails)

    def _where_all_are_remembered(self, memory: Sequence[Line]) -> tuple[list[Line], list[Line]]:
        """What memory holds from before the file begins, and from where it holds all that is written to the file.

        Memory goes back less far for one who writes much: in between only the file has everything, and who has written
        a line cannot be told there.
        """
        first: dict[str, float] = {}
        for line in memory:
            first.setdefault(line.worker, line.at or 0.0)
        begins, began = max(first.values(), default=0.0), self._files.began
        whole = [line for line in memory if line.at is None or line.at >= begins]
        if began is None:
            return [], list(memory)
        return [line for line in memory if line.at is not None and line.at < min(began, begins)], whole

    def _key(self, line: Line) -> str:
        return line.worker if self._place.tells_workers else self._place.label

    def _is_wanted(self, line: Line) -> bool:
        return not self._place.tells_workers or line.worker in self._wanted

    def _ends(self) -> Mapping[str, _Numbered]:
        """Of each worker that is remembered the end of what the files have."""
        return self._by_key(self._back(dict.fromkeys(self._remembered, 0)))

    def _by_key(self, backward: Iterable[tuple[Position, Line]]) -> Mapping[str, _Numbered]:
        found: dict[str, _Numbered] = defaultdict(deque)
        for position, line in backward:
            found[self._key(line)].appendleft((position, line))
        return found

    def _back(self, needed: Mapping[str, int]) -> Iterator[tuple[Position, Line]]:
        """Lines from the end of the files: of each worker those that memory holds, and `needed` more."""
        missing = {key: count + _behind(self._remembered.get(key, [])) for key, count in needed.items()}
        missing = {key: count for key, count in missing.items() if count}
        oldest = min((lines[0].at or 0.0 for lines in self._remembered.values()), default=None)
        room = 4 * sum(len(line.data) + 120 for line in self.memory) + (1 << 20)
        for position, line in self._files.backward() if missing else ():
            key = self._key(line)
            yield position, line
            if not any(needed.values()):
                # Nothing is sought but where memory begins.
                room -= len(line.data)
                early = oldest is not None and line.at is not None and line.at < oldest - _SLACK
                if early or room < 0:
                    return
            if key in missing:
                missing[key] -= 1
                if not missing[key]:
                    del missing[key]
                    if not missing:
                        return

    def _is_behind(self, key: str, lines: _Numbered) -> bool:
        memory = self._remembered.get(key, [])
        if not memory or not lines or self._common(lines, memory) is not None:
            return False
        return (lines[-1][1].at or 0.0) < (memory[0].at or 0.0)

    def _cut(self, key: str, lines: _Numbered) -> Position | None:
        """Where in the files memory begins; None where they end before it does."""
        memory = self._remembered.get(key, [])
        if not memory or not lines:
            return None
        common = self._common(lines, memory)
        if common is not None:
            return lines[common][0]
        # Lines are missing in between, in the file or in memory.
        begins = memory[0].at or 0.0
        return next((position for position, line in lines if line.at is not None and line.at >= begins), None)

    def _common(self, lines: _Numbered, memory: Sequence[Line]) -> int | None:
        return beginning([self._written(line) for _, line in lines], [self._written(line) for line in memory])

    def _written(self, line: Line) -> bytes:
        """As it stands in the file, in one of an earlier version as well, which did not have every byte."""
        return line.data.decode("utf-8", "replace").encode() if self._place.format == "json" else line.data


def _behind(memory: Sequence[Line]) -> int:
    """How many lines of the end of a file may be those of memory, or have been written since memory was read."""
    return 2 * len(memory) + 2000 if memory else 0


def beginning(file: Sequence[bytes], memory: Sequence[bytes]) -> int | None:
    """Where in `file` that begins which is in `memory`: all of it, with newer lines behind it or not, or as much of it
    as has got into the file. None where they have nothing in common. Of several places the last one.
    """
    fallback = [0] * len(memory)
    matched = 0
    for i in range(1, len(memory)):
        while matched and memory[i] != memory[matched]:
            matched = fallback[matched - 1]
        matched += memory[i] == memory[matched]
        fallback[i] = matched
    matched, found = 0, None
    for i, line in enumerate(file):
        while matched and (matched == len(memory) or line != memory[matched]):
            matched = fallback[matched - 1]
        matched += line == memory[matched]
        if matched == len(memory):
            found = i + 1 - matched
    if found is None and matched:
        found = len(file) - matched
    return found


def in_order(sources: Iterable[Iterable[Line]]) -> list[Line]:
    """The lines of all sources, in the order of time."""
    return list(merged(sources))


def merged(sources: Iterable[Iterable[Line]]) -> Iterator[Line]:
    """As `in_order`, one by one. Within a source the order stays."""
    for _, line in heapq.merge(*map(_timed, sources), key=lambda timed: timed[0]):
        yield line


def _timed(source: Iterable[Line]) -> Iterator[tuple[float, Line]]:
    last = 0.0
    for line in source:
        last = max(last, line.at or 0.0)
        yield last, line


def last_of_each(lines: Iterable[Line], count: int) -> list[Line]:
    """The last so many lines of each worker, in the order they came."""
    kept: dict[str, deque[tuple[int, Line]]] = defaultdict(lambda: deque(maxlen=count))
    for number, line in enumerate(lines):
        kept[line.worker].append((number, line))
    return [line for _, line in sorted((entry for each in kept.values() for entry in each), key=lambda e: e[0])]
