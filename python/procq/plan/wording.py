"""Values of a manifest as people write them."""

from __future__ import annotations

import signal
from typing import Final

_UNITS: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "m"), (1.0, "s"))


def duration(seconds: float) -> str:
    """`90.0` → `90s`, `120.0` → `2m`, `0.1` → `100ms`: the largest unit that is exact."""
    for size, unit in _UNITS:
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    if seconds >= 1:
        return f"{seconds:g}s"
    return f"{seconds * 1000:g}ms" if seconds else "0s"


def signal_name(number: int) -> str:
    """`15` → `TERM`."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)


def size(count: int) -> str:
    """`50000000` → `50MB`, `65536` → `64KiB`: the largest unit that is exact."""
    for power in (3, 2, 1):
        for base, unit in ((1000, "B"), (1024, "iB")):
            if count and count % base**power == 0:
                return f"{count // base**power}{'KMG'[power - 1]}{unit}"
    return f"{count}B"
