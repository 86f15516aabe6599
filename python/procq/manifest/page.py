"""The schema as a page for people: every key, what it means, and what a change of it does."""

from __future__ import annotations

from collections.abc import Iterator

from procq.manifest import schema
from procq.manifest.json_schema import left_out
from procq.manifest.keys import Key, List, Section, Sections, Table, Value

_HEAD = """\
# The manifest, key by key

<!-- Written by `make docs` from python/procq/manifest/schema.py: change that. -->

How these go together stands in [The manifest](manifest.md). The same as a JSON Schema for editors, which `procq schema`
prints, is [procq.schema.json](procq.schema.json).

A change of a key that is *live* touches no worker; a change of one that is *rolling* replaces the workers of its queue,
in batches as `update` says. `${NAME}` and `${NAME:-default}` may stand in every value."""


def reference() -> str:
    """The page, as Markdown."""
    top = [pair for key in schema.ROOT.keys for pair in ([("", key)] if key is schema.DEFAULTS else _below(key))]
    sections = [
        _HEAD,
        _table("At the top", top),
        _table("In a queue, and in `defaults`", [pair for key in schema.QUEUE_KEYS for pair in _below(key)]),
        _table("In an included file", [("", key) for key in schema.INCLUDED.keys]),
    ]
    return "\n\n".join(sections) + "\n"


def _below(key: Key, path: str = "") -> Iterator[tuple[str, Key]]:
    """The keys that hold values, each with the path that leads to it."""
    if isinstance(key, Section):
        if key.word is not None:
            yield path, key.word
        for each in key.keys:
            yield from _below(each, f"{path}{key.name}.")
    elif isinstance(key, Sections):
        for each in key.section.keys:
            yield from _below(each, f"{path}{key.name}[].")
    else:
        yield path, key


def _table(title: str, keys: list[tuple[str, Key]]) -> str:
    rows = [
        f"## {title}",
        "",
        "| Key | Meaning | Example | If left out | A change is |",
        "| --- | --- | --- | --- | --- |",
    ]
    for path, key in keys:
        cells = (f"`{path}{key.name}`", key.about, _example(key), left_out(key) or "none", _nature(key))
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows)


def _example(key: Key) -> str:
    match key:
        case Section() | Sections() | Table(value=Section()):
            return ""
        case Table():
            assert isinstance(key.value, Value)
            return f"`{key.key.examples[0]}: {key.value.examples[0]}`"
        case List():
            return f"`{key.item.examples[0]}`"
        case _:
            return ", ".join(f"`{example}`" for example in key.examples)


def _nature(key: Key) -> str:
    if isinstance(key, Section) or key is schema.QUEUES:
        return "as of the key"
    return key.nature.value
