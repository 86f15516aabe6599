"""A plan, as `procq plan` prints it."""

from __future__ import annotations

import os

from procq.text import Style, count, duration, plain, width
from procq.wire import ChangeView, PlanView

_COLOURS = {"+": "green", "~": "yellow", "±": "yellow", "-": "red"}


def plan_lines(plan: PlanView, style: Style, *, running: bool = True) -> list[str]:
    """What would change, queue by queue, then the sum. Unless `running`, it is everything, from nothing."""
    file = os.path.basename(plan.manifest)
    notes = [style(plain(note), "dim") for note in plan.notes]
    if not plan.changes:
        found = "is in force" if running else "has no queues"
        return [f"{file} {found}: {count(plan.unchanged, 'queue')} unchanged.", *notes]
    lines = [f"{file} differs from what runs:" if running else f"{file} is not running yet. `procq up` would do:", ""]
    names = max(width(plain(change.queue)) for change in plan.changes)
    whats = max(width(plain(change.what)) for change in plan.changes)
    for change in plan.changes:
        lines += _change(change, style, names, whats)
    if plan.unchanged:
        lines.append(f"  {style('=', 'dim')} {count(plan.unchanged, 'queue')} unchanged")
    return [*lines, "", _sum(plan), *notes]


def _change(change: ChangeView, style: Style, names: int, whats: int) -> list[str]:
    colour = _COLOURS[change.sign]
    impact = ", ".join(filter(None, (change.impact, _time(change.seconds_least, change.seconds_most))))
    words = f"{plain(change.queue):<{names}}   {plain(change.what):<{whats}}   {impact}"
    row = f"  {style(change.sign, colour)} {words}"
    details = [f"      {style(plain(line), 'red' if line.startswith('-') else 'green')}" for line in change.details]
    return [row.rstrip(), *details]


def _sum(plan: PlanView) -> str:
    started = sum(change.started for change in plan.changes)
    ended = sum(change.stopped + change.replaced for change in plan.changes)
    time = _time(plan.seconds_least, plan.seconds_most)
    said = f"{started:,} new, {ended:,} replaced or stopped, {plan.untouched:,} untouched."
    return f"{said} It takes {time}." if time else said


def _time(least: float, most: float) -> str:
    """`4 s to 2m`; nothing for what is done at once."""
    if most < 1:
        return ""
    low, high = duration(least), duration(most)
    if low == high:
        return f"about {high}"
    return f"{low} to {high}" if least >= 1 else f"up to {high}"
