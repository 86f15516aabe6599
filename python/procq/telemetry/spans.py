"""What a trace is made of, before any library knows of it: spans, contexts, and how many there may be. Pure.

Times are seconds on the clock of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

MOST: Final = 200
"""Spans about workers that are kept in each `WINDOW`: those of a storm of restarts would drown all else."""
WINDOW: Final = 60.0
_MOST_MOMENTS: Final = 16
LEFT_OUT: Final = "procq.spans.left_out"

Value = str | int | float | bool


class Context(NamedTuple):
    """The ids by which a span is known."""

    trace: int
    span: int


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened during a span."""

    name: str
    at: float
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """One that is over. `error` says what went wrong, "" where nothing did; `links` are what led to it elsewhere."""

    name: str
    context: Context
    parent: Context | None
    start: float
    end: float
    attributes: Mapping[str, Value] = field(default_factory=dict)
    moments: tuple[Moment, ...] = ()
    links: tuple[Context, ...] = ()
    error: str = ""


Emit = Callable[[Span], None]


@dataclass(slots=True)
class Open:
    """A span that is not over yet. Of one that is not `kept` nothing comes, nor of what is below it."""

    name: str
    context: Context
    parent: Context | None
    start: float
    attributes: dict[str, Value]
    links: tuple[Context, ...] = ()
    kept: bool = True
    moments: list[Moment] = field(default_factory=list)
    error: str = ""

    def moment(self, name: str, at: float, **attributes: Value) -> None:
        """Takes note of something that happened; the first few of them."""
        if len(self.moments) < _MOST_MOMENTS:
            self.moments.append(Moment(name, at, {f"procq.{key}": value for key, value in attributes.items()}))

    def ended(self, at: float) -> Span:
        """What has become of it."""
        return Span(
            self.name,
            self.context,
            self.parent,
            self.start,
            max(at, self.start),
            self.attributes,
            tuple(self.moments),
            self.links,
            self.error,
        )


@dataclass(slots=True)
class Budget:
    """Counts spans in windows of time, and those for which there was no room."""

    most: int = MOST
    began: float = float("-inf")
    used: int = 0
    left_out: int = 0

    def take(self, spans: int, now: float) -> bool:
        """Whether so many more may be begun; where not, they are counted as left out."""
        if now - self.began >= WINDOW:
            self.began, self.used = now, 0
        if self.used + spans > self.most:
            self.left_out += spans
            return False
        self.used += spans
        return True


class Spans:
    """Begins and ends spans, gives them ids, and says on the next one how many were left out before it."""

    def __init__(self, emit: Emit, bits: Callable[[int], int], most: int = MOST) -> None:
        """`emit` takes spans that are over; `bits` gives so many random bits."""
        self._emit = emit
        self._bits = bits
        self._budget = Budget(most)
        self._lives = Budget(most)

    def begin(
        self,
        name: str,
        at: float,
        parent: Open | Context | None = None,
        links: tuple[Context, ...] = (),
        budget: int = 0,
        **attributes: Value,
    ) -> Open:
        """Begins a span at `at`. With a `budget` it needs room for so many, itself and those below it."""
        kept = not isinstance(parent, Open) or parent.kept
        if budget and not (kept and self._budget.take(budget, at)):
            if not kept:
                self._budget.left_out += budget
            kept = False
        above = parent.context if isinstance(parent, Open) else parent
        context = Context(above.trace if above else self._id(128), self._id(64))
        named = {f"procq.{key}": value for key, value in attributes.items()}
        return Open(name, context, above, at, named, links, kept)

    def end(self, span: Open, at: float, error: str = "") -> None:
        """Ends a span; what went wrong first stays."""
        if not span.kept:
            return
        span.error = span.error or error
        ended = span.ended(at)
        if left_out := self._budget.left_out + self._lives.left_out:
            ended = replace(ended, attributes={**ended.attributes, LEFT_OUT: left_out})
            self._budget.left_out = self._lives.left_out = 0
        self._emit(ended)

    def life(self, span: Open, at: float, error: str) -> None:
        """Ends a span whose ids are known elsewhere, a root, if there is room: such have a cap of their own."""
        span.kept = self._lives.take(1, at)
        self.end(span, at, error)

    def _id(self, bits: int) -> int:
        # Zero is the id of nothing.
        return self._bits(bits) or 1
