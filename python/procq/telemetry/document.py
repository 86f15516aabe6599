"""A configuration file of OpenTelemetry as a tree of nodes that know their line, with variables put in. Pure.

Made from the nodes of libyaml and not by its constructors, which do not do what the specification asks for: variables
are put into values only, never into keys or structure, and only then it is found out what a value is, by the rules of
YAML 1.2. Messages show keys and lines, and no value: it may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import yaml

MAX_NODES: Final = 10_000
MAX_DEPTH: Final = 40
MAX_BYTES: Final = 1 << 20

_REFERENCE: Final = re.compile(
    r"\$\{(?:env:)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}\n]*))?\}|(?P<wrong>\$\{[^}\n]*\})"
)
_NULL: Final = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_DECIMAL: Final = re.compile(r"[-+]?[0-9]{1,18}")
_OCTAL: Final = re.compile(r"0o[0-7]{1,20}")
_HEXADECIMAL: Final = re.compile(r"0x[0-9a-fA-F]{1,15}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,4})?")


class Unreadable(Exception):
    """The file is not what it should be, at `line`, counted from 1; 0 is all of it. The text shows no value."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}" if line else what)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value, as it is understood, and as text."""

    line: int
    path: str
    value: bool | int | float | str | None
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """Keys and values, in the order of the file."""

    line: int
    path: str
    entries: Mapping[str, Node]


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    line: int
    path: str
    items: tuple[Node, ...]


Node = Scalar | Table | Items


def null(node: Node) -> bool:
    """Whether a key stands there and nothing beside it."""
    return isinstance(node, Scalar) and node.value is None


def below(node: Node, name: str) -> Node | None:
    """What stands in a table under a key, if it is a table and has it."""
    return node.entries.get(name) if isinstance(node, Table) else None


def parse(text: str, environ: Mapping[str, str]) -> Node:
    """The tree of `text`, with `${VARIABLES}` from `environ`. Raises Unreadable."""
    try:
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # What libyaml says more may show what stands there.
        raise Unreadable(mark.line + 1 if mark else 0, "this is not YAML") from None
    except yaml.YAMLError:
        raise Unreadable(0, "it is not YAML: it holds characters that no text does") from None
    if root is None:
        raise Unreadable(0, "it is empty")
    return _Builder(environ).node(root, "", 0)


class _Builder:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._count = 0

    def node(self, node: yaml.Node, path: str, depth: int) -> Node:
        line = node.start_mark.line + 1
        self._count += 1
        # An alias may stand for something large, or for what it is in itself.
        if self._count > MAX_NODES or depth > MAX_DEPTH:
            raise Unreadable(line, "there is more in this file than any configuration has")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path, line)
        if isinstance(node, yaml.SequenceNode):
            items = enumerate(node.value)
            return Items(line, path, tuple(self.node(each, f"{path}[{n}]", depth + 1) for n, each in items))
        return Table(line, path, self._entries(node, path, depth))

    def _scalar(self, node: yaml.ScalarNode, path: str, line: int) -> Scalar:
        text = substituted(node.value, self._environ, line)
        return Scalar(line, path, text if node.style else understood(text), text)

    def _entries(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Node]:
        found: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise Unreadable(line, "a key is a word")
            if key.tag == "tag:yaml.org,2002:merge":
                merged = {**self._merged(value, path, depth), **merged}
            elif key.value in found:
                raise Unreadable(line, f"`{key.value}` stands there twice")
            else:
                found[key.value] = self.node(value, f"{path}.{key.value}" if path else key.value, depth + 1)
        return {**merged, **found}

    def _merged(self, value: yaml.Node, path: str, depth: int) -> dict[str, Node]:
        """What `<<` adds: the first of several counts most."""
        several = value.value if isinstance(value, yaml.SequenceNode) else [value]
        found: dict[str, Node] = {}
        for each in several:
            table = self.node(each, path, depth + 1)
            if not isinstance(table, Table):
                raise Unreadable(table.line, "`<<` takes keys and values from elsewhere, and these are none")
            found = {**table.entries, **found}
        return found


def substituted(text: str, environ: Mapping[str, str], line: int = 0) -> str:
    """`text` with `${NAME}`, `${env:NAME}` and `${NAME:-default}` replaced; `$$` stands for `$`. Raises Unreadable."""

    def put(found: re.Match[str]) -> str:
        if found["wrong"] is not None:
            raise Unreadable(line, "this is no reference to a variable: write ${NAME}, ${NAME:-default}, or $$ for a $")
        return environ.get(found["name"]) or found["default"] or ""

    return "$".join(_REFERENCE.sub(put, part) for part in text.split("$$"))


def understood(text: str) -> bool | int | float | str | None:
    """What a plain scalar is by the core schema of YAML 1.2."""
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    for pattern, base in ((_DECIMAL, 10), (_OCTAL, 8), (_HEXADECIMAL, 16)):
        if pattern.fullmatch(text):
            return int(text, 10) if base == 10 else int(text[2:], base)
    return float(text) if _FLOAT.fullmatch(text) else text
