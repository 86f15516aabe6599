"""What all benchmarks share: rows of a table, numbers in words, the machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what was measured, beside which floor of the same run, and against which aim."""

    what: str
    measured: str
    floor: str = ""
    ratio: str = ""
    aim: str = ""
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing, in seconds."""

    samples: Sequence[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.samples)

    @property
    def p99(self) -> float:
        """What ninety-nine of a hundred do not exceed."""
        ordered = sorted(self.samples)
        return ordered[min(len(ordered) - 1, -(-len(ordered) * 99 // 100) - 1)]

    @property
    def most(self) -> float:
        """The worst."""
        return max(self.samples)

    def __str__(self) -> str:
        if len(self.samples) < 20:
            return f"{ms(self.median)} (most {ms(self.most)}, n={len(self.samples)})"
        return f"{ms(self.median)} (p99 {ms(self.p99)}, n={len(self.samples)})"


def ms(seconds: float) -> str:
    """Milliseconds with as many digits as mean something."""
    value = seconds * 1000
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"


def mib(size: float) -> str:
    """Mebibytes."""
    return f"{size / (1 << 20):.1f} MiB"


def rate(size: float, seconds: float) -> str:
    """Megabytes (10^6) a second."""
    return f"{size / seconds / 1e6:.0f} MB/s"


def times(ratio: float) -> str:
    """A ratio."""
    return f"{ratio:.2f}×"


def timed(act: Callable[[], object]) -> float:
    """Seconds that `act` takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def table(rows: Iterable[Row]) -> str:
    """The rows in Markdown."""
    cells = [("what", "procq", "floor", "ratio", "aim", "met")]
    cells += [(r.what, r.measured, r.floor, r.ratio, r.aim, _verdict(r.met)) for r in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "| " + " | ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _verdict(met: bool | None) -> str:
    return "" if met is None else "yes" if met else "NO"


def machine() -> str:
    """The machine in one line."""
    with open("/proc/cpuinfo") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{len(os.sched_getaffinity(0))} cores of {model}, {memory / (1 << 30):.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {load}"
    )


def read_number(path: Path | str) -> int:
    """The first number in a file."""
    return int(Path(path).read_text().split()[0])
