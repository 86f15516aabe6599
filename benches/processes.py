"""Memory and time of processes, from outside."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path


def pss(pid: int) -> int:
    """Bytes of memory, what is shared counted in parts."""
    return _kilobytes(pid, "smaps_rollup", "Pss:")


def uss(pid: int) -> int:
    """Bytes of memory that nobody else shares."""
    return sum(_kilobytes(pid, "smaps_rollup", f"Private_{kind}:") for kind in ("Clean", "Dirty"))


def resident(pid: int) -> int:
    """Bytes of memory, what is shared counted in full."""
    return _kilobytes(pid, "smaps_rollup", "Rss:")


def peak(pid: int) -> int:
    """The most bytes that were resident since `forget_peak`."""
    return _kilobytes(pid, "status", "VmHWM:")


def forget_peak(pid: int) -> None:
    """Begins anew with `peak`."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu(pid: int) -> float:
    """Seconds that all its threads have run, to the nanosecond."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def _kilobytes(pid: int, file: str, key: str) -> int:
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise LookupError(f"{key} is not in /proc/{pid}/{file}")


def footprint(pids: Iterable[int]) -> int:
    """Bytes of all of `pids` together as if nobody else ran the same programs: pages of files count in full, once."""
    own, files = 0, Counter[str]()
    for pid in pids:
        own += _kilobytes(pid, "smaps_rollup", "Pss_Anon:")
        files |= _file_pages(pid)
    return own + files.total()


def _file_pages(pid: int) -> Counter[str]:
    """Bytes that are resident of each file that is mapped, its private copies not counted."""
    files, name = Counter[str](), ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        match words[0]:
            case "Rss:" if name:
                files[name] += int(words[1]) * 1024
            case "Anonymous:" if name:
                files[name] -= int(words[1]) * 1024
            case key if not key.endswith(":"):
                name = words[5] if len(words) > 5 and words[5].startswith("/") else ""
    return files


def descendants(root: int, but: str | None = None) -> list[int]:
    """`root` and everything below it, those left out that run the program `but`."""
    found = [root]
    for pid in found:
        with contextlib.suppress(OSError):  # it has just ended
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += [int(child) for child in children.read_text().split()]
    return [pid for pid in found if but is None or os.readlink(f"/proc/{pid}/exe") != but]


def running(program: str) -> list[int]:
    """Every process that runs exactly this file, whoever its parent is."""
    found = []
    for link in Path("/proc").glob("[0-9]*/exe"):
        with contextlib.suppress(OSError):  # it has just ended, or is not ours
            if os.readlink(link) == program:
                found.append(int(link.parent.name))
    return found
