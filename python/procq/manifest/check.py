"""Compares the tree of a manifest with the schema, and notes every difference where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import assert_never

from procq.errors import did_you_mean, nearest
from procq.manifest import nodes, schema
from procq.manifest.elsewhere import called_here
from procq.manifest.expand import expand, hides
from procq.manifest.fields import HIDDEN
from procq.manifest.keys import Command, Key, List, Section, Sections, Table, Value
from procq.manifest.nodes import Node, Scalar
from procq.manifest.source import Source
from procq.manifest.units import Refused


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a section is: `path` for messages about values, `where` for those about keys, the line shown `above`."""

    path: str = ""
    where: str = ""
    above: int | None = None


_HOMES = {schema.ROOT.name: "at the top level", schema.QUEUE.name: "to a queue"}
_SMALLEST = "the smallest manifest is a line `queues:` and below it, indented, `name: command`"


def check(source: Source, root: Node, environ: Mapping[str, str], section: Section = schema.ROOT) -> None:
    """Notes everything that is wrong with keys and values; whole commands are looked at when queues are built.

    `section` is what the file holds: a manifest, or what may be included into one.
    """
    if isinstance(root, Scalar) and not root.text:
        source.whole("the file is empty", _SMALLEST)
    elif not isinstance(root, nodes.Mapping | nodes.Faulty):
        source.problem(root.line, root.column, 1, "this is not a manifest", _SMALLEST)
    elif isinstance(root, nodes.Mapping):
        place = _Place() if section is schema.ROOT else _Place(where=" in an included file")
        _Checker(source, environ).section(root, section, place)
        needed = ("queues", "include") if section is schema.ROOT else ("queues",)
        names = [key.name for key in section.keys]
        if not any(name.text in needed or nearest(name.text, names) in needed for name, _ in root.entries):
            what = "the manifest" if section is schema.ROOT else "the file"
            source.whole(f"{what} has no queues", _SMALLEST)


def effective(scalar: Scalar, key: Value[object], environ: Mapping[str, str]) -> object:
    """The value of a key after expansion. Raises Refused."""
    return key.read(expand(scalar.text, environ))


class _Checker:
    def __init__(self, source: Source, environ: Mapping[str, str]) -> None:
        self._source = source
        self._environ = environ

    def section(self, node: nodes.Mapping, section: Section, place: _Place) -> None:
        """Notes what is wrong below a mapping."""
        for name, value in node.entries:
            key = section.find(name.text)
            if key is not None:
                self._value(name, value, key, place)
            else:
                self._at(name, f'unknown key "{name.text}"{place.where}', _hint(name.text, section))

    def _value(self, name: Scalar, node: Node, key: Key, place: _Place) -> None:
        path = place.path + name.text
        match key:
            case _ if isinstance(node, nodes.Faulty):
                pass
            case Value():
                self._leaf(name, node, key, path, place.above)
            case List():
                self._list(name, node, key, path, place.above)
            case Command():
                self._command(name, node, path)
            case Section():
                inside = (
                    " in defaults" if key is schema.DEFAULTS else f" in {key.name}{place.where.replace('in', 'of', 1)}"
                )
                self._fixed(name, node, key, _Place(f"{path}.", inside, name.line))
            case Sections():
                self._sections(name, node, key, place)
            case Table():
                self._table(name, node, key, path)
            case _:
                assert_never(key)

    def _fixed(self, name: Scalar, node: Node, section: Section, place: _Place) -> None:
        path = place.path.rstrip(".")
        below = f"below it, indented: {', '.join(key.name for key in section.keys)}"
        match node:
            case nodes.Mapping():
                self.section(node, section, place)
            case Scalar() if node.text and isinstance(key := section.alone, Value):
                self._leaf(name, node, key, path, None)
            case Scalar() if not node.text and node.plain:
                self._at(name, f"{path} is empty", f"put its keys {below}")
            case _:
                self._at(_begin(node, name), f"{path} must hold keys", f"put them {below}")

    def _sections(self, name: Scalar, node: Node, key: Sections, place: _Place) -> None:
        path = place.path + name.text
        below = f"write each with a `- ` before its first key: {', '.join(each.name for each in key.section.keys)}"
        if not isinstance(node, nodes.Sequence):
            empty = isinstance(node, Scalar) and not node.text and node.plain
            message = f"{path} is empty" if empty else f"{path} must be a list"
            self._at(name if empty else _begin(node, name), message, below)
            return
        inside = f" in {key.name}{place.where.replace('in', 'of', 1)}"
        for item in node.items:
            if isinstance(item, nodes.Mapping):
                self.section(item, key.section, _Place(f"{path}.", inside, name.line))
            elif not isinstance(item, nodes.Faulty):
                self._at(item, f"{path} must hold keys in each of its items", below)

    def _list(self, name: Scalar, node: Node, key: List, path: str, above: int | None) -> None:
        if isinstance(node, Scalar) and re.search(r"[,\s]", node.text.strip()):
            self._at(node, f"{path} is one value or a list", "write each in a line of its own, as `- …`")
            return
        if isinstance(node, nodes.Mapping):
            self._at(_begin(node, name), f"{path} is one value or a list", "write each in a line of its own, as `- …`")
            return
        if not isinstance(node, nodes.Sequence):
            self._leaf(name, node, key.item, path, above)
            return
        seen: set[str] = set()
        for item in node.items:
            if isinstance(item, nodes.Faulty):
                continue
            anchor = item if isinstance(item, Scalar) else Scalar(item.line, item.column, 1, "")
            self._leaf(anchor, item, key.item, path, above if above is not None else name.line)
            if anchor.text in seen:
                self._at(anchor, f'"{anchor.text}" stands here twice', "keep one")
            seen.add(anchor.text)

    def _table(self, name: Scalar, node: Node, table: Table, path: str) -> None:
        if not isinstance(node, nodes.Mapping):
            empty = isinstance(node, Scalar) and not node.text
            message = f"{path} is empty" if empty else f"{path} must hold named entries"
            self._at(
                name if empty else _begin(node, name),
                message,
                "write its entries below it, indented, each as `name: …`",
            )
            return
        for entry, value in node.entries:
            self._entry_name(entry, table)
            match table.value:
                case _ if isinstance(value, nodes.Faulty):
                    pass
                case Value() as key:
                    self._leaf(entry, value, key, f"{path}.{entry.text}", name.line)
                case Section() as section:
                    self._queue(entry, value, section)

    def _entry_name(self, entry: Scalar, table: Table) -> None:
        try:
            table.key.read(entry.text)
        except Refused as refused:
            message = refused.message or f'"{entry.text}" is not {table.key.what}'
            self._at(entry, message, refused.expected or table.key.expected)

    def _queue(self, name: Scalar, node: Node, section: Section) -> None:
        match node:
            case nodes.Mapping():
                self.section(node, section, _Place(where=f' in queue "{name.text}"'))
            case Scalar() if node.text.strip():
                self._one_line(node, section)
            case Scalar():
                self._at(name, f'queue "{name.text}" is empty', f"write `{name.text}: command`, or its keys below it")
            case nodes.Sequence():
                self._at(node, f'queue "{name.text}" is a list', "write the list under `command:` of the queue")

    def _one_line(self, node: Scalar, section: Section) -> None:
        """A command, which is looked at when the queue is built, unless it only lacks a space."""
        word = node.text.partition(":")[0]
        if word != node.text and section.find(word):
            self._at(node, f'a space is missing after "{word}:"', f"write `{word}: …`")

    def _command(self, name: Scalar, node: Node, path: str) -> None:
        match node:
            case nodes.Mapping():
                message = f"{path} must be text or a list, not keys"
                self._at(node, message, "if it is text with `: ` in it, put it in quotes")
            case nodes.Sequence():
                for item in node.items:
                    if not isinstance(item, Scalar | nodes.Faulty):
                        self._at(
                            item,
                            f"every word of {path} must be text",
                            "write one `- word` line each; quote what holds `: `",
                        )
            case Scalar() if not node.text.strip():
                self._at(name, f"{path} is empty", "write the program and its arguments")

    def _leaf(self, name: Scalar, node: Node, key: Value[object], path: str, above: int | None) -> None:
        if not isinstance(node, Scalar):
            self._at(
                _begin(node, name), f"{path} must hold one value", key.expected or "if it is text, put it in quotes"
            )
            return
        at = node if node.text or not node.plain else name
        try:
            effective(node, key, self._environ)
        except Refused as refused:
            empty = not node.text and refused.message is None
            message = refused.message or (f"{path} is empty" if empty else f"{path} is not {key.what}")
            expected = (refused.expected or key.expected) + self._expanded(node)
            if hides(node.text, self._environ) and self._expanded(node):
                message, expected = f"{path} is not {key.what}", f"{key.expected} ({HIDDEN})"
            column, length = _within(at, refused.place)
            self._source.problem(at.line, column, length, message, expected, above)

    def _expanded(self, node: Scalar) -> str:
        try:
            value = expand(node.text, self._environ)
        except Refused:
            return ""
        return "" if value == node.text else f' (with its variables it reads "{value}")'

    def _at(self, node: Node, message: str, expected: str) -> None:
        length = node.length if isinstance(node, Scalar) else 1
        self._source.problem(node.line, node.column, length, message, expected)


def _within(scalar: Scalar, place: tuple[int, int] | None) -> tuple[int, int]:
    """Column and length of a part of a value; of the whole where its text does not stand there as it is."""
    quotes = 0 if scalar.plain else 1
    if place is None or "${" in scalar.text or scalar.length != len(scalar.text) + 2 * quotes:
        return scalar.column, scalar.length
    return scalar.column + quotes + place[0], place[1] - place[0]


def _begin(node: Node, name: Scalar) -> Node:
    return node if node.line == name.line else name


def _hint(word: str, section: Section) -> str:
    if section is schema.INCLUDED and schema.ROOT.find(word) is not None:
        return "it belongs into the manifest that includes this file"
    here = called_here(word, section.name)
    if here is not None:
        return f"it is called `{here}` here"
    homes = list(dict.fromkeys(_homes(word, schema.ROOT)))
    if homes:
        return f"it belongs {' or '.join(_HOMES.get(home, f'under `{home}`') for home in homes)}"
    if word == "<<":
        return "keys are not merged in manifests; what all queues share goes under `defaults`"
    choices = [key.name for key in section.keys]
    otherwise = f"expected one of {', '.join(choices)}"
    if section in (schema.ROOT, schema.INCLUDED):
        otherwise += "; names of queues go under `queues:`"
    return did_you_mean(word, choices, otherwise)


def _homes(word: str, section: Section) -> Iterator[str]:
    for key in section.keys:
        if key.name == word:
            yield section.name
        if isinstance(key, Table) and word in key.key.choices:
            yield key.name
        if isinstance(key, Section) and key is not schema.HOST:
            yield from _homes(word, key)
        elif isinstance(key, Sections):
            yield from _homes(word, key.section)
        elif isinstance(key, Table) and isinstance(key.value, Section):
            yield from _homes(word, key.value)
