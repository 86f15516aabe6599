"""The YAML of a manifest as a tree of nodes which know where they stand.

Built from the events of libyaml, never from its own composer: nothing is resolved, nothing is multiplied, and size and
depth are counted while reading. What manifests leave out of YAML (flow style, anchors, aliases, tags, duplicate keys,
directives, several documents) is noted as a problem where it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from procq.manifest.source import Source

MAX_DEPTH = 16
MAX_NODES = 100_000

_QUOTE = "if it is meant as text, put it in quotes"


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value, as text. `length` is that of its first line."""

    line: int
    column: int
    length: int
    text: str
    plain: bool = True


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys and values in the order of the file. `end` is the line after the last one."""

    line: int
    column: int
    entries: list[tuple[Scalar, Node]] = field(default_factory=list)

    def get(self, name: str) -> tuple[Scalar, Node] | None:
        """The entry of that name."""
        return next((entry for entry in self.entries if entry[0].text == name), None)


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list of nodes."""

    line: int
    column: int
    items: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Faulty:
    """Something that has been reported already and is not looked into."""

    line: int
    column: int


Node = Scalar | Mapping | Sequence | Faulty


@dataclass(frozen=True, slots=True)
class Broken:
    """Where and why libyaml could not go on."""

    line: int
    column: int
    context: tuple[int, int] | None
    problem: str


class _Stop(Exception):
    """A cap was reached or the stream ended: no more events are wanted."""


def parse(source: Source, text: str) -> Node | Broken:
    """The root node of `text`, a (possibly repaired) form of `source`, which takes the problems."""
    try:
        return _Builder(source, yaml.parse(text, Loader=yaml.CSafeLoader)).document()
    except yaml.MarkedYAMLError as error:
        mark, context = error.problem_mark, error.context_mark
        return Broken(mark.line, mark.column, (context.line, context.column) if context else None, str(error.problem))


class _Builder:
    def __init__(self, source: Source, events: Iterator[yaml.Event]) -> None:
        self._source = source
        self._events = events
        self._count = 0

    def document(self) -> Node:
        next(self._events)
        start = next(self._events)
        if isinstance(start, yaml.StreamEndEvent):
            return Scalar(0, 0, 0, "")
        if start.version or start.tags:
            self._refuse(start, 1, "YAML directives are not used in manifests", "take the line with % out")
        try:
            root = self._node(next(self._events), 0)
        except _Stop:
            return Faulty(0, 0)
        next(self._events)
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._refuse(after, 3, "a second document begins here", "a manifest is one document; take the --- out")
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        self._count += 1
        if self._count > MAX_NODES:
            self._refuse(event, 1, f"there are more than {MAX_NODES} values", "a manifest is a short text")
            raise _Stop
        if depth > MAX_DEPTH:
            self._refuse(event, 1, "this is nested too deeply", "no key of a manifest is nested like this")
            raise _Stop
        self._refuse_decoration(event)
        match event:
            case yaml.ScalarEvent():
                return self._scalar(event)
            case yaml.CollectionStartEvent(flow_style=True):
                return self._flow(event)
            case yaml.MappingStartEvent():
                return self._mapping(event, depth)
            case yaml.SequenceStartEvent():
                return self._sequence(event, depth)
            case _:
                return Faulty(*_at(event))

    def _mapping(self, event: yaml.Event, depth: int) -> Mapping:
        mapping = Mapping(*_at(event))
        seen: dict[str, int] = {}
        while not isinstance(start := next(self._events), yaml.MappingEndEvent):
            key = self._node(start, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if not isinstance(key, Scalar):
                self._refuse(start, 1, "a key is a single word", "write `key: value`")
            elif key.text in seen:
                message = f'"{key.text}" stands here twice'
                self._source.problem(
                    key.line, key.column, key.length, message, f"the first is in line {seen[key.text] + 1}; keep one"
                )
            else:
                seen[key.text] = key.line
                mapping.entries.append((key, value))
        return mapping

    def _sequence(self, event: yaml.Event, depth: int) -> Sequence:
        sequence = Sequence(*_at(event))
        while not isinstance(start := next(self._events), yaml.SequenceEndEvent):
            sequence.items.append(self._node(start, depth + 1))
        return sequence

    def _scalar(self, event: yaml.Event) -> Scalar:
        if "\0" in event.value:
            self._refuse(event, _length(event), r"the character NUL (\0) cannot be given to a program", "take it out")
        return Scalar(*_at(event), _length(event), event.value.replace("\0", ""), not event.style)

    def _flow(self, start: yaml.Event) -> Faulty:
        """Reports a flow collection and skips it."""
        kind, line = ("{…}", "key: value") if isinstance(start, yaml.MappingStartEvent) else ("[…]", "- item")
        self._refuse(start, 1, f"{kind} is not used in manifests", f"write one `{line}` line each; {_QUOTE}")
        depth = 1
        while depth:
            event = next(self._events)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        return Faulty(*_at(start))

    def _refuse_decoration(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, _length(event), "aliases (*name) are not used in manifests", _QUOTE)
        elif event.anchor is not None:
            self._refuse(event, len(event.anchor) + 1, "anchors (&name) are not used in manifests", _QUOTE)
        elif event.tag is not None:
            self._refuse(event, len(event.tag), "tags (!name) are not used in manifests", _QUOTE)

    def _refuse(self, event: yaml.Event, length: int, message: str, expected: str) -> None:
        self._source.problem(*_at(event), length, message, expected)


def _at(event: yaml.Event) -> tuple[int, int]:
    return event.start_mark.line, event.start_mark.column


def _length(event: yaml.Event) -> int:
    same_line = event.start_mark.line == event.end_mark.line
    return event.end_mark.column - event.start_mark.column if same_line else 1
