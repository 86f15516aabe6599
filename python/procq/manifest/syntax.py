"""What to say, and how to go on, where the text is not YAML.

libyaml stops at its first error and speaks of tokens and indicators. Nearly always one value only needs quotes, so the
value is quoted in a copy and reading goes on: everything else that is wrong with the file is found in the same run.
"""

from __future__ import annotations

import re

from procq.manifest import schema
from procq.manifest.keys import Command, List, Section, Table
from procq.manifest.nodes import Broken, Node, parse
from procq.manifest.source import Source

_REPAIR_BYTES = 2 << 20
"""Every repair reads the text once more; together they read no more than this, but at least a few."""
_MAX_REPAIRS = 50
_LONGEST_LINE = 4096
_ENTRY = re.compile(
    r"""^(?P<head>\s*(?:-\s+)*(?:(?:[\w.-]+|"[^"]*"|'[^']*')\s*:\s+)?)(?P<value>\S.*?)(?P<tail>\s+\#.*|\s*)$"""
)
_KEY_OR_ITEM = re.compile(r"[:-]\s+$")
_KEY = re.compile(r"[\w.-]+:\s")
_SPECIAL = tuple("*&!%@`{}[]|>?-,\"'#:")
_COMMON = {
    "did not find expected key": (
        "the indentation of this line fits no line above it",
        "keys of one level start in the same column; a value that begins with a quote must end with it",
    ),
    "could not find expected ':'": (
        "this line is neither `key: value` nor `- item`",
        "write a colon and a space after the key",
    ),
    "found unexpected end of stream": ("a quote is opened and never closed", "close it"),
    "did not find expected '-' indicator": ("this line is not an item of the list above", "begin it with `- `"),
    "block sequence entries are not allowed in this context": (
        "a list begins in the next line",
        "write each `- item` in a line of its own",
    ),
    "mapping values are not allowed in this context": (
        "there is a colon too many, or the line is indented too far",
        "put a value with `: ` in it in quotes; keys of one level start in the same column",
    ),
}
_BLAME_THE_START = ("could not find expected ':'", "found unexpected end of stream")


def read(source: Source) -> Node | None:
    """The tree of a manifest, with every problem of syntax noted; None where there is no going on."""
    lines = list(source.lines)
    for _ in range(max(3, min(_MAX_REPAIRS, _REPAIR_BYTES // (len(source.text) + 1)))):
        found = parse(source, "\n".join(lines))
        if not isinstance(found, Broken):
            return found
        if not _repair(source, found, lines):
            _explain(source, found)
            return None
    return None


def _repair(source: Source, broken: Broken, lines: list[str]) -> bool:
    """Quotes the value that libyaml stumbled over, and says so."""
    for number in dict.fromkeys((broken.line, broken.context[0] if broken.context else None)):
        if number is None or number >= len(lines) or lines[number] != source.lines[number]:
            continue
        if len(lines[number]) > _LONGEST_LINE:
            continue
        entry = _ENTRY.match(lines[number])
        if entry is None or not _needs_quotes(entry["head"], entry["value"]):
            continue
        quoted = "'" + entry["value"].replace("'", "''") + "'"
        message, expected = _meant(entry["head"].strip(), entry["value"]) or (
            "YAML gives this text a meaning of its own",
            f"put it in quotes: {entry['head'].strip()} {quoted}",
        )
        source.problem(number, entry.start("value"), len(entry["value"]), message, expected)
        lines[number] = entry["head"] + quoted + entry["tail"]
        return True
    return False


def _meant(head: str, value: str) -> tuple[str, str] | None:
    """What to say of a value that is no text, but what belongs below its key; None for any other."""
    key = schema.QUEUE.find(head.removesuffix(":")) or schema.ROOT.find(head.removesuffix(":"))
    if isinstance(key, List | Command) and value.startswith("- "):
        return "a list begins in the line of its key", f"write `{value}` in a line of its own, below `{head}`"
    if isinstance(key, Section | Table) and _KEY.match(value):
        return (
            "keys begin in the line of their section",
            f"write `{value}` in a line of its own, indented below `{head}`",
        )
    return None


def _needs_quotes(head: str, value: str) -> bool:
    if _KEY_OR_ITEM.search(head) is None:
        return False
    if value[0] in "\"'" and value.count(value[0]) == 1:
        return False  # opened and never closed: the end is what is missing
    return value.startswith(_SPECIAL) or ": " in value or value.endswith(":")


def _explain(source: Source, broken: Broken) -> None:
    tabs = [n for n, line in enumerate(source.lines) if "\t" in line[: len(line) - len(line.lstrip())] and line.strip()]
    if broken.line in tabs and ("cannot start any token" in broken.problem or "tab character" in broken.problem):
        for number in tabs:
            column = source.lines[number].index("\t")
            source.problem(number, column, 1, "this line is indented with a tab", "indent with spaces")
        return
    default = ("this is not YAML", f"the parser says: {broken.problem}")
    message, expected = _COMMON.get(broken.problem, default)
    at_start = broken.problem in _BLAME_THE_START and broken.context is not None
    line, column = broken.context if at_start and broken.context else (broken.line, broken.column)
    line = min(line, len(source.lines) - 1)
    source.problem(line, min(column, len(source.lines[line])), 1, message, expected)
