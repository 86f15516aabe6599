"""Looking at processes from outside, by /proc. A process that ends meanwhile is an ordinary answer: None."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

COOKIE = "PROCQ_TEST_COOKIE"
GENERATION_BITS = 33
"""Low bits of the mark; the high ones are the instance of a keeper."""

_UNLIMITED = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Stat:
    """Some of /proc/PID/stat; `started` in clock ticks since boot tells two processes of one number apart."""

    pid: int
    name: str = field(compare=False)
    state: str = field(compare=False)
    parent: int = field(compare=False)
    group: int
    session: int
    started: int


def pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())


def stat(pid: int) -> Stat | None:
    text = _read(pid, "stat")
    if text is None:
        return None
    name, _, rest = text.decode(errors="replace").partition("(")[2].rpartition(")")
    fields = rest.split()
    return Stat(pid, name, fields[0], int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def exists(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    found = stat(pid)
    return found is not None and found.state not in "ZX"


def is_the_same(seen: Stat) -> bool:
    now = stat(seen.pid)
    return now is not None and now.started == seen.started and now.state not in "ZX"


def environment(pid: int) -> dict[str, str]:
    text = _read(pid, "environ") or b""
    pairs = (entry.decode(errors="replace").partition("=") for entry in text.split(b"\0") if entry)
    return {name: value for name, _, value in pairs}


def mark(pid: int) -> int | None:
    """The soft RLIMIT_LOCKS where it is limited."""
    found = re.search(rb"^Max file locks +(\d+)", _read(pid, "limits") or b"", re.MULTILINE)
    return int(found[1]) if found else None


def instance(pid: int) -> int | None:
    """The keeper that the process is marked with."""
    marked = mark(pid)
    return marked >> GENERATION_BITS if marked is not None and marked != _UNLIMITED else None


def children(pid: int) -> list[int]:
    return [found.pid for found in map(stat, pids()) if found is not None and found.parent == pid]


def zombies_of(pid: int) -> list[Stat]:
    return [found for found in map(stat, children(pid)) if found is not None and found.state == "Z"]


def descriptors(pid: int) -> Counter[str]:
    """What a process has open, by kind: pipe, socket, terminal (either end), extension, anon_inode:[pidfd], or path."""
    kinds: Counter[str] = Counter()
    directory = Path(f"/proc/{pid}/fd")
    try:
        entries = list(directory.iterdir())
    except OSError:
        return kinds
    for entry in entries:
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        kinds[_kind(target)] += 1
    return kinds


def _kind(target: str) -> str:
    if target.startswith(("pipe:", "socket:")):
        return target.partition(":")[0]
    if "/_core." in target:
        return "extension"
    return "terminal" if target == "/dev/ptmx" or target.startswith("/dev/pts/") else target


def ticks(pid: int) -> int:
    """Processor time of all its threads since it began, in clock ticks."""
    text = (_read(pid, "stat") or b"").rpartition(b")")[2].split()
    return int(text[11]) + int(text[12]) if text else 0


def abstract_sockets() -> list[str]:
    """Their names, with `@` in front."""
    fields = (line.split() for line in Path("/proc/net/unix").read_text().splitlines())
    return [found[7] for found in fields if len(found) > 7 and found[7].startswith("@")]


def memory(pid: int) -> int:
    """Bytes of private memory."""
    rollup = _read(pid, "smaps_rollup") or b""
    return sum(int(kilobytes) for kilobytes in re.findall(rb"^Private_\w+: +(\d+) kB", rollup, re.MULTILINE)) * 1024


def command(pid: int) -> str:
    return (_read(pid, "cmdline") or b"").replace(b"\0", b" ").decode(errors="replace").strip()


def _read(pid: int, file: str) -> bytes | None:
    try:
        with open(f"/proc/{pid}/{file}", "rb") as stream:
            return stream.read()
    except OSError:
        return None
