"""The values of one section, whoever wrote them: those of a queue, and under them those of `defaults`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from procq.manifest import nodes
from procq.manifest.expand import expand, hides
from procq.manifest.keys import List, Section, Sections, Table, Value
from procq.manifest.nodes import Node, Scalar
from procq.manifest.source import Source

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """A node, and the file in which it stands. `environ` says which of the values behind it must not be shown."""

    source: Source
    node: Node
    environ: Mapping[str, str] = field(default_factory=dict)

    def problem(self, message: str, expected: str, *, shows_value: bool = True) -> None:
        """Notes a problem of the node, in other words where these would show a secret."""
        if shows_value and isinstance(self.node, Scalar) and hides(self.node.text, self.environ):
            message, expected = "the value behind this is not possible here", HIDDEN
        length = self.node.length if isinstance(self.node, Scalar) else 1
        self.source.problem(self.node.line, self.node.column, length, message, expected)


HIDDEN = "it comes from an env_file and is not shown"


class Fields:
    """The keys below one section, in layers of which the later are stronger."""

    def __init__(self, section: Section, environ: Mapping[str, str], *layers: Found | None) -> None:
        """`layers` from the weakest to the strongest."""
        self.environ = environ
        """What `${NAME}` is taken from."""
        self._section = section
        self._layers = [(layer.source, _entries(layer.node, section)) for layer in layers if layer is not None]

    def found(self, name: str) -> Found | None:
        """The strongest node of that name, and where it is."""
        for source, entries in reversed(self._layers):
            if name in entries:
                return Found(source, entries[name], self.environ)
        return None

    def node(self, name: str) -> Node | None:
        """The strongest node of that name."""
        found = self.found(name)
        return None if found is None else found.node

    def value(self, key: Value[T], default: T) -> T:
        """The value of a key. Raises Refused."""
        node = self.node(key.name)
        return key.read(expand(node.text, self.environ)) if isinstance(node, Scalar) else default

    def optional(self, key: Value[T]) -> T | None:
        """The value of a key, None where nobody wrote one. Raises Refused."""
        node = self.node(key.name)
        return key.read(expand(node.text, self.environ)) if isinstance(node, Scalar) else None

    def items(self, key: List) -> list[tuple[Found, str]]:
        """The values of a list, those of the strongest layer alone, each with its place. Raises Refused."""
        found = self.found(key.name)
        match found.node if found else None:
            case nodes.Sequence(items=items):
                scalars = [item for item in items if isinstance(item, Scalar)]
            case Scalar() as scalar:
                scalars = [scalar]
            case _:
                return []
        assert found is not None
        return [
            (Found(found.source, each, self.environ), key.item.read(expand(each.text, self.environ)))
            for each in scalars
        ]

    def apart(self) -> list[Fields]:
        """Each layer by itself, from the weakest to the strongest."""
        return [self._with([layer]) for layer in self._layers]

    def _with(self, layers: list[tuple[Source, dict[str, Node]]]) -> Fields:
        made = Fields(self._section, self.environ)
        made._layers = layers
        return made

    def section(self, key: Section) -> Fields:
        """The keys below a key, merged one by one."""
        below = (Found(source, layer[key.name], self.environ) for source, layer in self._layers if key.name in layer)
        return Fields(key, self.environ, *below)

    def sections(self, key: Sections) -> list[Fields]:
        """Each section of a list, those of the strongest layer alone."""
        found = self.found(key.name)
        if found is None or not isinstance(found.node, nodes.Sequence):
            return []
        items = (Found(found.source, item, self.environ) for item in found.node.items)
        return [Fields(key.section, self.environ, item) for item in items if isinstance(item.node, nodes.Mapping)]

    def entries(self, key: Table) -> Iterator[tuple[Found, str, str]]:
        """The entries of a table of text: place, name and expanded text, the stronger later. Raises Refused."""
        for source, layer in self._layers:
            match layer.get(key.name):
                case nodes.Mapping(entries=entries):
                    for name, node in entries:
                        if isinstance(node, Scalar):
                            yield Found(source, node, self.environ), name.text, expand(node.text, self.environ)

    def table(self, key: Table) -> dict[str, str]:
        """The entries of a table of text, merged one by one. Raises Refused."""
        return {name: text for _, name, text in self.entries(key)}


def _entries(node: Node, section: Section) -> dict[str, Node]:
    match node:
        case nodes.Mapping(entries=entries):
            return {key.text: value for key, value in entries}
        case Scalar() if section.alone is not None:
            return {section.alone.name: node}
        case _:
            return {}
