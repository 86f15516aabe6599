"""What workers write, as records of a log: one for each line. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from procq.telemetry.logs import Record, Severity
from procq.telemetry.spans import Context, Value

_ESCAPE: Final = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
"""What commands a terminal: colours, movements of the cursor, titles. None goes over the end of a line."""
_MOST_OPEN: Final = 10_000
"""Lines that are known to go on."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Output as the keeper hands it out: whole lines, or where `partial` one that goes on or has no end.

    `at` is when it was read from the worker, seconds since the epoch; `generation` is 0 where it is not known.
    """

    worker: str
    stream: str
    at: float
    data: bytes
    partial: bool = False
    generation: int = 0

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> Piece:
        """The piece in a message of the keeper."""
        # A keeper of an earlier version does not say whose it is.
        generation, at = reply.get("generation", 0), reply["time"] / 1e9
        return cls(reply["worker"], reply["stream"], at, reply["data"], reply["partial"], generation)

    @property
    def queue(self) -> str:
        """The queue of the worker."""
        return self.worker.rpartition(".")[0]


class Lines:
    """Makes records of pieces, in the order in which they come.

    How bad a line is nobody knows here: its severity is left open. The keeper cuts a line of more than 64 KiB, and each
    part is a record. `life` has the span of a worker's life, by its generation, where such spans are sent.
    """

    def __init__(self, life: Callable[[int], Context] | None = None) -> None:
        self._life = life
        self._open: dict[tuple[str, str], int] = {}
        """Streams whose last line goes on, and the generation that wrote it."""

    def records(self, piece: Piece, observed: float) -> list[Record]:
        """One for each line of a piece, read at `observed`, seconds since the epoch."""
        data = piece.data
        if self._goes_on(piece) and data.startswith(b"\n"):
            # The end of the line before, which was just as long as it may be.
            data = data[1:]
        if b"\x1b" in data:
            data = _ESCAPE.sub(b"", data)
        text = data.decode("utf-8", "replace")
        lines = (text if piece.partial else text.removesuffix("\n")).split("\n") if data else []
        known = _attributes(piece)
        context = self._life(piece.generation) if self._life is not None and piece.generation else None
        return [
            Record(piece.at, "", Severity.UNSPECIFIED, line.removesuffix("\r"), known, context, observed)
            for line in lines
        ]

    def _goes_on(self, piece: Piece) -> bool:
        """Whether it begins within a line."""
        stream = piece.worker, piece.stream
        went_on = self._open.pop(stream, None) == piece.generation
        if piece.partial:
            if len(self._open) >= _MOST_OPEN:
                del self._open[next(iter(self._open))]
            self._open[stream] = piece.generation
        return went_on


def _attributes(piece: Piece) -> Mapping[str, Value]:
    found: dict[str, Value] = {
        "log.iostream": piece.stream,
        "procq.queue": piece.queue,
        "procq.worker": piece.worker,
    }
    if piece.generation:
        found["procq.generation"] = piece.generation
    return found
