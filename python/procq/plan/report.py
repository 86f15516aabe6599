"""A difference as lines of text, without colour; the sign in front of each queue carries what colour would."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from procq.plan.diff import Counts, Difference, Mark, QueueDiff
from procq.plan.wording import workers

_WIDEST: Final = 48
"""Columns for what changes; a longer text pushes its effect to the right."""


def lines(difference: Difference) -> list[str]:
    """One line a queue that changes, more where a command does, one for all that do not, and the sum."""
    changed = [q for q in difference.queues if q.mark is not Mark.SAME]
    same = len(difference.queues) - len(changed)
    names = max((len(q.name) for q in changed), default=0)
    whats = min(max((len("; ".join(_what(q))) for q in changed), default=0), _WIDEST)
    text = [line for queue in changed for line in _queue(queue, names, whats)]
    if same:
        text.append(f"  = {same} queue{'' if same == 1 else 's'} unchanged")
    return [*text, "", summary(difference)]


def summary(difference: Difference) -> str:
    """`2 new, 26 replaced or stopped, 43 untouched`."""
    counts = difference.counts
    return f"{counts.new} new, {counts.replaced + counts.stopped} replaced or stopped, {counts.untouched} untouched"


def announcement(difference: Difference) -> str:
    """The one line that says what a reload did: `emails: workers 5 → 3; invoices added (2 new, …)`."""
    parts = [_short(q) for q in difference.queues if q.mark is not Mark.SAME]
    return f"{'; '.join(parts) or 'no change'} ({summary(difference)})"


def _short(queue: QueueDiff) -> str:
    match queue.mark:
        case Mark.ADDED:
            return f"{queue.name} added"
        case Mark.REMOVED:
            return f"{queue.name} removed"
        case _:
            keys = [f"{c.key} {c.old} → {c.new}" if c.key == "workers" else f"{c.key} changed" for c in queue.changes]
            return f"{queue.name}: {', '.join(keys) or 'changed by hand'}"


def _queue(queue: QueueDiff, names: int, whats: int) -> Iterator[str]:
    command = next((c for c in queue.changes if c.key == "command"), None)
    what = "; ".join(_what(queue))
    yield f"  {queue.mark} {queue.name:<{names}}  {what:<{whats}}  {_effect(queue)}".rstrip()
    if command is not None:
        yield f"      - {command.old}"
        yield f"      + {command.new}"


def _what(queue: QueueDiff) -> Iterator[str]:
    if queue.mark is Mark.ADDED:
        yield "new queue"
    elif queue.mark is Mark.REMOVED:
        yield "removed"
    for change in queue.changes:
        if change.key == "command":
            yield "command changes"
        else:
            yield f"{change.key} {change.old or '(none)'} → {change.new or '(none)'}"


def _effect(queue: QueueDiff) -> str:
    counts = queue.counts
    told = [
        f"{workers(number)} {verb}"
        for number, verb in (
            (counts.new, "start" if counts.new > 1 else "starts"),
            (counts.stopped, "stop" if counts.stopped > 1 else "stops"),
            (counts.replaced, "replaced"),
        )
        if number
    ]
    if counts.configured and not told:
        return "live, no worker touched"
    if counts.untouched and told:
        told.append(_untouched(counts))
    return ", ".join(told) or "no worker touched"


def _untouched(counts: Counts) -> str:
    return f"{counts.untouched} keep{'s' if counts.untouched == 1 else ''} running"
