"""A plain Procfile: one `name: command` a line, each run by a shell, as other Procfile tools do."""

from __future__ import annotations

import re
from types import MappingProxyType

from procq.manifest import schema
from procq.manifest.build import default_name
from procq.manifest.command import shell
from procq.manifest.source import Source
from procq.manifest.units import Refused
from procq.model import Manifest, Queue

_LINE = re.compile(r"(\s*)([^\s:#][^\s:]*)\s*:(.*)")


def load(source: Source, directory: str) -> Manifest:
    """The manifest of a Procfile. Raises ManifestError."""
    queues: dict[str, Queue] = {}
    seen: dict[str, int] = {}
    for number, line in enumerate(source.lines):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            length = len(line.strip())
            source.problem(number, len(line) - len(line.lstrip()), length, "this line is not `name: command`", _HELP)
            continue
        name, command = found[2], found[3].strip()
        _check(source, number, found, seen)
        seen.setdefault(name, number)
        if command:
            queues[name] = Queue(name, command, shell(command), directory=directory)
    if not seen:
        source.whole("the Procfile has no processes", _HELP)
    source.raise_if_faulty()
    return Manifest(default_name(directory), MappingProxyType(queues), directory)


_HELP = "expected a name, a colon and a command, as in `worker: rq worker emails`"


def _check(source: Source, number: int, found: re.Match[str], seen: dict[str, int]) -> None:
    name, column = found[2], found.start(2)
    try:
        schema.QUEUE_NAME.read(name)
    except Refused:
        source.problem(number, column, len(name), f'"{name}" is not the name of a queue', schema.QUEUE_NAME.expected)
    if name in seen:
        source.problem(
            number, column, len(name), f'"{name}" stands here twice', f"the first is in line {seen[name] + 1}; keep one"
        )
    if not found[3].strip():
        source.problem(number, column, len(name), f'"{name}" has no command', _HELP)
