"""The second opinion: strictyaml reads every byte, with a schema made from the same table, and must agree.

strictyaml's time grows with the square of the text, so the text is cut at the queues and read block by block. The nodes
only say where to cut. What it has agreed to once is remembered by content.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, assert_never

import strictyaml
import yaml

from procq.manifest import agreed, nodes, schema
from procq.manifest.keys import Command, Key, List, Section, Sections, Table, Value
from procq.manifest.nodes import Node, Scalar
from procq.manifest.source import Source

_MAX_LINES = 1_000
"""Of one block; ten times as many would take a hundred times as long."""
_FORMAT = "1"
"""To be raised when what is compared, or how, is changed in here or in `nodes`."""


def confirm(source: Source, root: nodes.Mapping) -> None:
    """Notes a problem for every block that strictyaml refuses or reads in another way."""
    for first, text, expected, validator in _blocks(source, root):
        if text.count("\n") >= _MAX_LINES:
            message = f"more than {_MAX_LINES} lines, not counting other queues"
            source.problem(first, 0, len(source.lines[first]), message, "is all of this needed?")
            continue
        digest = hashlib.blake2b(text.encode(), digest_size=agreed.SIZE, person=validator.encode()).digest()
        if not _agreed.knows(digest) and _agrees(source, first, text, expected, validator):
            _agreed.add(digest)


def _agrees(source: Source, first: int, text: str, expected: Callable[[], object], validator: str) -> bool:
    try:
        found = strictyaml.load(text, _validator(validator)).data
    except strictyaml.YAMLError as error:
        _explain(source, first, error)
        return False
    if found != expected():
        message = "YAML readers do not agree on what this block means"
        source.problem(first, 0, len(source.lines[first]), message, "put its values in quotes")
        return False
    return True


def _explain(source: Source, first: int, error: Any) -> None:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    number = min(first + (mark.line if mark else 0), len(source.lines) - 1)
    line = source.lines[number]
    why = str(getattr(error, "problem", error))
    if "\\t" in why and "\t" in line:
        column = line.index("\t")
        source.problem(
            number, column, 1, "a tab stands outside of quotes", r'use spaces, or write it as "\t" in quotes'
        )
    else:
        source.problem(number, 0, len(line), "this is not strict YAML", why)


def _blocks(source: Source, root: nodes.Mapping) -> Iterator[tuple[int, str, Callable[[], object], str]]:
    """First line, text, expected data and kind of schema: the file without its queues, then each queue."""
    entry = root.get("queues")
    if entry is None:
        yield 0, source.text, partial(_plain_mapping, root), "skeleton"
        return
    key, queues = entry
    assert isinstance(queues, nodes.Mapping)
    starts = [name.line for name, _ in queues.entries]
    following = [name.line for name, _ in root.entries if name.line > key.line]
    end = min(following, default=len(source.lines))
    skeleton = [*source.lines[: starts[0]], *source.lines[end:]]
    yield 0, "\n".join(skeleton), partial(_skeleton, root), "skeleton"
    for start, stop, (name, node) in zip(starts, [*starts[1:], end], queues.entries, strict=True):
        # The line break belongs to it: without, a text block at its end would mean something else.
        text = "\n".join([*source.lines[start:stop], ""][: len(source.lines) - start])
        yield start, text, partial(_named, name.text, node), "queue"


def _plain(node: Node) -> object:
    match node:
        case Scalar():
            return node.text
        case nodes.Mapping():
            return _plain_mapping(node)
        case nodes.Sequence():
            return [_plain(item) for item in node.items]
        case nodes.Faulty():
            return None
        case _:
            assert_never(node)


def _skeleton(root: nodes.Mapping) -> object:
    return {**_plain_mapping(root), "queues": ""}


def _named(name: str, node: Node) -> object:
    return {name: _plain(node)}


def _plain_mapping(node: nodes.Mapping) -> dict[str, object]:
    return {key.text: _plain(value) for key, value in node.entries}


@cache
def _validator(kind: str) -> Any:
    if kind == "queue":
        return strictyaml.MapPattern(strictyaml.Str(), _from_key(schema.QUEUE))
    fields = {strictyaml.Optional(k.name): _from_key(k) for k in schema.ROOT.keys if k is not schema.QUEUES}
    return strictyaml.Map({**fields, strictyaml.Optional("queues"): strictyaml.Str()})


def _from_key(key: Key) -> Any:
    match key:
        case Value():
            return strictyaml.Str()
        case Command() | List():
            return strictyaml.Str() | strictyaml.Seq(strictyaml.Str())
        case Section():
            fixed = strictyaml.Map({strictyaml.Optional(k.name): _from_key(k) for k in key.keys})
            return strictyaml.Str() | fixed if key.alone is not None else fixed
        case Sections():
            return strictyaml.Seq(_from_key(key.section))
        case Table():
            return strictyaml.MapPattern(strictyaml.Str(), _from_key(key.value))
        case _:
            assert_never(key)


def _depends_on() -> bytes:
    """A digest of everything that decides besides the text: what is allowed, and the versions of both readers."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        strict = version("strictyaml")
    except PackageNotFoundError:
        strict = strictyaml.__version__
    shapes = (repr(_validator(kind)) for kind in ("queue", "skeleton"))
    parts = (_FORMAT, strict, yaml.__version__, *shapes)
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=agreed.SIZE).digest()


_agreed = agreed.Agreed(lambda: agreed.directory(os.environ), _depends_on)
