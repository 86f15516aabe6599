"""Small words for people: durations, plurals, colour. Pure, and cheap to import."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

_RESET = "\x1b[0m"
_STYLES = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "dim": "2",
    "bold": "1",
}
_PREFIX_COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")

_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
_SGR = re.compile(r"\x1b\[[0-9;:]*m")


class Style:
    """Colours text, or leaves it alone where colour is off."""

    __slots__ = ("color",)

    def __init__(self, color: bool) -> None:
        self.color = color

    def __call__(self, text: str, style: str) -> str:
        """`text` in one of: red, green, yellow, blue, magenta, cyan, dim, bold."""
        return f"\x1b[{_STYLES[style]}m{text}{_RESET}" if self.color and text else text

    def prefix(self, worker: str, width: int) -> str:
        """`worker` padded to `width`, in a colour of its own that stays the same over runs."""
        padded = worker.ljust(width)
        if not self.color:
            return padded
        code = _PREFIX_COLOURS[sum(worker.encode()) % len(_PREFIX_COLOURS)]
        return f"\x1b[{code}m{padded}{_RESET}"


def wants_color(environ: Mapping[str, str], is_terminal: bool) -> bool:
    """Whether to colour: on a terminal that can, unless NO_COLOR is set."""
    return is_terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def size(count: int) -> str:
    """An amount of memory in three digits at most: `410M`, `3.9G`."""
    amount, units = float(count), "BKMGT"
    while amount >= 999.5 and len(units) > 1:
        amount, units = amount / 1024, units[1:]
    return f"{amount:.1f}{units[0]}" if amount < 9.95 and units[0] in "MGT" else f"{amount:.0f}{units[0]}"


def percent(cores: float) -> str:
    """Cores in use as `top` says it: 100% is one of them."""
    return f"{cores * 100:.0f}%"


def rate(each_second: float) -> str:
    """How often: `12/s`, `0.4/s`, `3/min`, `2/h`; `0/s` is never."""
    for factor, unit in ((1, "s"), (60, "min"), (3600, "h")):
        often = each_second * factor
        if often >= 0.995 or not often:
            return f"{often:,.0f}/{unit}" if often >= 9.95 or often == round(often) else f"{often:.1f}/{unit}"
    return "<1/h"


def duration(seconds: float) -> str:
    """A length of time in at most two units: `41 ms`, `12 s`, `3m 4s`, `3d 4h`."""
    if seconds < 0.9995:
        return f"{max(0, round(seconds * 1000))} ms"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for size, unit, small_size, small_unit in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // small_size
            return f"{whole // size}{unit} {rest}{small_unit}" if rest else f"{whole // size}{unit}"
    return f"{whole} s"


def count(number: int, thing: str, things: str | None = None) -> str:
    """`1 worker`, `2,300 workers`."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def listing(words: Sequence[str], most: int = 4) -> str:
    """`a`, `a and b`, `a, b, c and 3 more`."""
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most} more"
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def visible(text: str) -> str:
    """`text` with every escape sequence and control character removed that could do more than colour."""
    return _ESCAPE.sub(lambda found: found[0] if _SGR.fullmatch(found[0]) else "", text)


def plain(text: str) -> str:
    """`text` on one line and without escape sequences: for names and messages that others chose."""
    return _ESCAPE.sub("", text).replace("\n", "⏎").replace("\t", " ")


def width(text: str) -> int:
    """Columns that `text` takes: colours take none."""
    return len(_SGR.sub("", text))


def cut(text: str, columns: int) -> str:
    """`text` cut to `columns`, colours kept and ended."""
    if width(text) <= columns:
        return text
    kept, room = "", columns - 1
    for part in re.split(r"(\x1b\[[0-9;:]*m)", text):
        if part.startswith("\x1b"):
            kept += part
        else:
            kept += part[:room]
            room -= len(part[:room])
    return f"{kept}…{_RESET}" if "\x1b" in kept else f"{kept}…"


def table(rows: Iterable[Sequence[str]], right: Sequence[int] = (), gap: int = 3) -> list[str]:
    """Aligned lines. The columns in `right` are right-aligned; cells may be coloured; the last column is not padded."""
    grid = [tuple(row) for row in rows]
    columns = max((len(row) for row in grid), default=0)
    widths = [max((width(row[i]) for row in grid if i < len(row)), default=0) for i in range(columns)]
    lines = []
    for row in grid:
        cells = []
        for i, cell in enumerate(row):
            space = " " * (widths[i] - width(cell))
            cells.append(space + cell if i in right else cell + space)
        lines.append((" " * gap).join(cells).rstrip())
    return lines
