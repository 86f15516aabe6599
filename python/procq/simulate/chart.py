"""Draws a simulation: backlog, workers and waits over time, as SVG or in block characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from procq.simulate.result import Moment, Result

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 900, 120, 60, 40, 34
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_FONT: Final = 'font-family="sans-serif" font-size="12" fill="#444"'

Value = Callable[[Moment], float]


def svg(title: str, result: Result) -> str:
    """Three panels above each other, with nothing loaded from elsewhere. `result` needs moments."""
    moments = result.moments
    panels: list[tuple[str, list[tuple[str, Value]], float]] = [
        ("jobs waiting", [("#c4622d", lambda moment: moment.waiting)], 0.0),
        ("workers, and those at work", [("#9db8d9", lambda m: m.workers), ("#2d6cc4", lambda m: m.busy)], 0.0),
        ("wait of the next job, s", [("#7a3fa0", lambda moment: moment.wait)], result.wait),
    ]
    height = _TOP + len(panels) * (_HEIGHT + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH + _LEFT + 20}" height="{height}">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="20" {_FONT}>{escape(title)}: {escape(summary(result))}</text>',
    ]
    for index, (name, lines, limit) in enumerate(panels):
        parts += _panel(name, lines, limit, moments, _TOP + index * (_HEIGHT + _GAP))
    return "\n".join([*parts, "</svg>", ""])


def _panel(
    name: str, lines: Sequence[tuple[str, Value]], limit: float, moments: Sequence[Moment], top: int
) -> list[str]:
    most = max([limit, 1.0, *(value(moment) for _, value in lines for moment in moments)])
    end = max([1.0, *(moment.at for moment in moments)])
    bottom = top + _HEIGHT
    parts = [
        f'<text x="{_LEFT}" y="{top - 4}" {_FONT}>{escape(name)}</text>',
        f'<text x="{_LEFT - 6}" y="{top + 10}" text-anchor="end" {_FONT}>{most:.0f}</text>',
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end" {_FONT}>0</text>',
        f'<text x="{_LEFT + _WIDTH}" y="{bottom + 14}" text-anchor="end" {_FONT}>{end / 60:.0f} min</text>',
        f'<path d="M{_LEFT} {bottom}h{_WIDTH}" stroke="#bbb"/>',
    ]
    for colour, value in lines:
        points = (
            f"{_LEFT + _WIDTH * moment.at / end:.1f},{bottom - _HEIGHT * value(moment) / most:.1f}"
            for moment in moments
        )
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}"/>')
    if limit:
        y = bottom - _HEIGHT * limit / most
        parts.append(f'<path d="M{_LEFT} {y:.1f}h{_WIDTH}" stroke="#c00" stroke-dasharray="4"/>')
    return parts


def summary(result: Result) -> str:
    """The result in one line."""
    return (
        f"{result.attained:.1%} of {result.jobs:,} jobs in time, {result.ratio:.2f} hours for each hour of work, "
        f"{result.spawns:,} workers started"
    )


def blocks(result: Result, columns: int) -> list[str]:
    """Three lines for a terminal that is so many columns wide, each with the most it shows."""
    rows: list[tuple[str, Value]] = [
        ("waiting", lambda moment: moment.waiting),
        ("workers", lambda moment: moment.workers),
        ("wait", lambda moment: moment.wait),
    ]
    width = max(10, columns - 22)
    lines = []
    for name, value in rows:
        values = _columns([value(moment) for moment in result.moments], width)
        most = max([1e-9, *values])
        # What is there at all is seen.
        drawn = "".join(_BLOCKS[max(int(each > 0), round(8 * each / most))] for each in values)
        lines.append(f"{name:>8} {drawn} {most:,.0f}{' s' if name == 'wait' else ''}".rstrip())
    return lines


def _columns(values: Sequence[float], width: int) -> list[float]:
    """The most of each of so many parts: what is short would vanish in a mean."""
    if len(values) <= width:
        return list(values)
    return [max(values[index * len(values) // width : (index + 1) * len(values) // width]) for index in range(width)]
