"""Workers that write numbered lines, and the proof that none is missing, torn or out of order."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.process.support.keeper import program

_LINE = re.compile(rb"(\w+\.\d+)/(\d+) (\d+|end)")


def manifest(workers: int, pause: float = 0.002) -> str:
    """A queue `w` whose workers write `w.SLOT/GENERATION N`, each into a file of its own."""
    command = " ".join(program("lines.py", "$PROCQ_WORKER_ID/$PROCQ_GENERATION", 0, pause))
    return f"""\
queues:
  w:
    command: exec {command}
    shell: yes
    workers: {workers}
    stop:
      grace: 5s
    logs:
      file: w-{{slot}}.log
"""


@dataclass(frozen=True, slots=True)
class Written:
    """What one generation has written: `0 … lines-1`, then `end` where it was asked to leave."""

    lines: int
    ended: bool


def read(content: bytes) -> dict[tuple[str, int], Written]:
    """By worker and generation. Fails on any line that is torn, missing, twice, or out of order."""
    found: dict[tuple[str, int], Written] = {}
    assert content.endswith(b"\n"), f"the last line is torn: {content[-60:]!r}"
    for line in content.splitlines():
        parsed = _LINE.fullmatch(line)
        assert parsed, f"a torn line: {line!r}"
        key = (parsed[1].decode(), int(parsed[2]))
        before = found.get(key, Written(0, False))
        assert not before.ended, f"{key} wrote after its end"
        if parsed[3] == b"end":
            found[key] = Written(before.lines, True)
        else:
            assert int(parsed[3]) == before.lines, f"{key}: line {before.lines} is missing, {parsed[3]!r} came"
            found[key] = Written(before.lines + 1, False)
    return found


def read_files(files: Iterable[Path]) -> dict[tuple[str, int], Written]:
    """Of all files together; each worker writes into one of them."""
    found: dict[tuple[str, int], Written] = {}
    for file in files:
        found |= read(file.read_bytes())
    return found
