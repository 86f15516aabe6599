"""Decisions about the number of workers, as `procq why` prints them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import localtime, strftime

from procq.text import Style, count, duration, plain, table
from procq.wire import DecisionView, TermView

_DAY = 86_400


def why_lines(decisions: Sequence[DecisionView], style: Style, now: float) -> list[str]:
    """The newest decision with all its numbers, then the changes before it. `now` is in seconds since the epoch."""
    if not decisions:
        return ["nothing has been decided yet: ask again in a second"]
    latest, *earlier = decisions
    lines = [
        f"{style(plain(latest.queue), 'bold')}   {count(latest.target, 'worker')}, "
        f"decided {duration(max(0.0, now - latest.at))} ago",
        "",
        f"  {plain(latest.reason)}",
        *(f"  {plain(limit)}" for limit in latest.limits),
    ]
    for title, numbers in (("known", latest.inputs), ("calculated", latest.terms)):
        if numbers:
            lines += ["", f"  {style(title, 'dim')}", *(f"    {line}" for line in table(_rows(numbers), right=(1,)))]
    if earlier:
        lines += ["", f"  {style('before', 'dim')}", *(f"    {line}" for line in table(_changes(earlier, now)))]
    return lines


def _rows(numbers: Sequence[TermView]) -> Iterator[tuple[str, str, str]]:
    for each in numbers:
        yield plain(each.name), _number(each.value), plain(each.text)


def _changes(decisions: Sequence[DecisionView], now: float) -> Iterator[tuple[str, str, str]]:
    for each in decisions:
        at = strftime("%H:%M:%S" if now - each.at < _DAY else "%Y-%m-%d %H:%M", localtime(each.at))
        yield at, f"{each.before} → {each.target}", plain(each.reason)


def _number(value: float) -> str:
    if value < 0:
        return "–"
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.2f}"
