"""From the difference that a manifest makes to the words of `procq plan`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from procq.intent import Intent
from procq.plan.diff import Difference, Mark, QueueDiff
from procq.plan.values import Change
from procq.text import count
from procq.wire import ChangeView, PlanView


def plan_view(difference: Difference, manifest: str, current: Intent | None) -> PlanView:
    """What `difference` says, with `manifest` as the name of the file and `current` as what is in force."""
    queues = told(difference, current)
    return PlanView(
        manifest=manifest,
        changes=tuple(change_view(queue) for queue in queues if queue.mark is not Mark.SAME),
        unchanged=sum(queue.mark is Mark.SAME for queue in queues),
        untouched=difference.counts.untouched,
        seconds_least=difference.seconds[0],
        seconds_most=difference.seconds[1],
        notes=(*_overrides(queues, current), *_roll_outs(queues)),
    )


def told(difference: Difference, current: Intent | None) -> list[QueueDiff]:
    """The queues worth telling of: not those that were removed before and are still being emptied."""
    present = current.manifest.queues if current else {}
    return [queue for queue in difference.queues if queue.mark is not Mark.REMOVED or queue.name in present]


def _overrides(queues: Iterable[QueueDiff], current: Intent | None) -> Iterator[str]:
    overrides = current.overrides if current else {}
    for queue in queues:
        if queue.name in overrides and queue.mark is not Mark.REMOVED:
            yield (
                f"{queue.name} is overridden to {overrides[queue.name]}: the number in the file counts after "
                f"`procq scale {queue.name}=auto`"
            )


def _roll_outs(queues: Iterable[QueueDiff]) -> Iterator[str]:
    """Of queues that stay as they are: what an earlier change has not come to yet."""
    for queue in queues:
        if queue.mark is Mark.SAME and queue.counts.replaced:
            left = count(queue.counts.replaced, "worker")
            yield f"{queue.name} is being replaced, {left} to go: `procq status {queue.name}` shows how far it is"


def change_view(queue: QueueDiff) -> ChangeView:
    """One queue that changes."""
    counts = queue.counts
    return ChangeView(
        sign=queue.mark.value,
        queue=queue.name,
        what=_what(queue),
        impact=impact(queue),
        started=counts.new,
        stopped=counts.stopped,
        replaced=counts.replaced,
        untouched=counts.untouched,
        details=tuple(_details(queue)),
        seconds_least=queue.seconds[0],
        seconds_most=queue.seconds[1],
    )


def _what(queue: QueueDiff) -> str:
    match queue.mark:
        case Mark.ADDED:
            return "new queue"
        case Mark.REMOVED:
            return "removed"
        case _:
            # A change without one that shows is a count that is overridden by hand, or text that is written otherwise.
            unseen = "what it runs changes" if queue.mark is Mark.REPLACED else "workers, overridden by hand"
            return ", ".join(map(_change, queue.changes)) or unseen


def _change(change: Change) -> str:
    if change.key == "command":
        return "command changes"
    if change.key.startswith("env."):
        return f"{change.key} {'removed' if not change.new else change.new}"
    return f"{change.key} {change.old or 'none'} → {change.new or 'none'}"


def impact(queue: QueueDiff, started: str = "started") -> str:
    """What happens to the workers of `queue`, in words; `started` is the one for new workers."""
    counts = queue.counts
    parts = []
    if counts.replaced:
        parts.append(f"{count(counts.replaced, 'worker')} replaced{_batches(queue)}")
    if counts.new:
        parts.append(f"{count(counts.new, 'worker')} {started}" if not parts else f"{counts.new} {started}")
    if counts.stopped:
        parts.append(f"{count(counts.stopped, 'worker')} stopped" if not parts else f"{counts.stopped} stopped")
    if not parts:
        return "live, no worker touched" if queue.mark is Mark.CHANGED else ""
    if counts.untouched:
        parts.append(f"{counts.untouched} untouched")
    return ", ".join(parts)


def _batches(queue: QueueDiff) -> str:
    extra = f" (surge {queue.surge})" if queue.surge else ""
    if not queue.batch or queue.batch >= queue.counts.replaced:
        return extra
    return (" one by one" if queue.batch == 1 else f" in batches of {queue.batch}") + extra


def _details(queue: QueueDiff) -> Iterator[str]:
    for change in queue.changes:
        if change.key == "command":
            yield f"- {change.old}"
            yield f"+ {change.new}"
