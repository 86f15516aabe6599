"""What workers write, in lines."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_LONGEST: Final = 1 << 20
"""Bytes of a line that has not ended after which it is handed out all the same."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line that a worker wrote, without its end; `str()` gives the text.

    `stream` is "stdout" or "stderr", `at` when it was read, in seconds since the Unix epoch. Bytes that are not UTF-8
    are replaced. `missing` bytes were lost before it, because they were written faster than they were read; a last line
    without text tells of those at the end.
    """

    worker: str
    stream: str
    at: float
    text: str
    missing: int = 0

    def __str__(self) -> str:
        return self.text


class Splitter:
    """Makes lines of the pieces in which the keeper tells of output."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], tuple[float, bytes]] = {}
        self._missing = 0

    def lines(self, reply: Mapping[str, Any]) -> list[Line]:
        """The lines that are complete with this piece of output, or gap."""
        if reply["t"] == "gap":
            self._missing += reply["bytes"]
            return []
        key, at, data = (reply["worker"], reply["stream"]), reply["time"] / 1e9, bytes(reply["data"])
        began, former = self._open.pop(key, (at, b""))
        *whole, rest = (former + data).split(b"\n")
        found = [self._line(key, began if former and not number else at, text) for number, text in enumerate(whole)]
        if len(rest) > _LONGEST or (rest and not reply["partial"]):
            found.append(self._line(key, at, rest))
        elif rest:
            self._open[key] = (at if whole else began, rest)
        return found

    def rest(self, worker: str) -> list[Line]:
        """What was written without an end of line; a line without text where the end of the output was lost."""
        rest = [self._line(key, at, data) for key, (at, data) in self._open.items()]
        self._open.clear()
        if self._missing:
            rest.append(self._line((worker, "stdout"), time.time(), b""))
        return rest

    def _line(self, key: tuple[str, str], at: float, text: bytes) -> Line:
        missing, self._missing = self._missing, 0
        return Line(*key, at, text.removesuffix(b"\r").decode("utf-8", "replace"), missing)
