"""A plan, as `procq plan` prints it."""

from __future__ import annotations

import os

from procq.text import Style, count, plain, width
from procq.wire import ChangeView, PlanView

_COLOURS = {"+": "green", "~": "yellow", "±": "yellow", "-": "red"}


def plan_lines(plan: PlanView, style: Style) -> list[str]:
    """What would change, queue by queue, then the sum."""
    file = os.path.basename(plan.manifest)
    if not plan.changes:
        return [f"{file} is what runs: {count(plan.unchanged, 'queue')} unchanged."]
    lines = [f"{file} differs from what runs:", ""]
    names = max(width(plain(change.queue)) for change in plan.changes)
    whats = max(width(plain(change.what)) for change in plan.changes)
    for change in plan.changes:
        lines += _change(change, style, names, whats)
    if plan.unchanged:
        lines.append(f"  {style('=', 'dim')} {count(plan.unchanged, 'queue')} unchanged")
    return [*lines, "", _sum(plan)]


def _change(change: ChangeView, style: Style, names: int, whats: int) -> list[str]:
    colour = _COLOURS[change.sign]
    words = f"{plain(change.queue):<{names}}   {plain(change.what):<{whats}}   {change.impact}"
    row = f"  {style(change.sign, colour)} {words}"
    details = [f"      {style(plain(line), 'red' if line.startswith('-') else 'green')}" for line in change.details]
    return [row.rstrip(), *details]


def _sum(plan: PlanView) -> str:
    started = sum(change.started for change in plan.changes)
    ended = sum(change.stopped + change.replaced for change in plan.changes)
    return f"{started} new, {ended} replaced or stopped, {plan.untouched} untouched."
