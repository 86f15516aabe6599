"""From the words people use to queues and workers: a queue, `queue.3`, or a pattern over either."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from procq.errors import ProcqError, did_you_mean
from procq.model import WorkerId
from procq.views import queue_names, slots, wanted_names

if TYPE_CHECKING:
    from procq.engine.view import StateView

Target = str | WorkerId
_LONGEST = 128
_MOST = 1_000


class NoSuchTarget(ProcqError):
    """A word means no queue and no worker."""


def resolve(view: StateView, words: Sequence[str], *, wanted_only: bool = False) -> tuple[Target, ...]:
    """Queues and workers that `words` mean, each once. Raises NoSuchTarget where one means nothing.

    `wanted_only`: patterns pass over queues that are only being emptied, about which nothing can be wanted.
    """
    names = queue_names(view)
    patterns = wanted_names(view) if wanted_only else names
    if len(words) > _MOST:
        raise NoSuchTarget(f"{len(words)} targets are more than {_MOST}", hint="Use patterns.")
    found: dict[Target, None] = {}
    for word in words:
        if len(word) > _LONGEST:
            raise NoSuchTarget(f'"{word[:20]}…" has more than {_LONGEST} characters: no name is as long')
        found |= dict.fromkeys(_meant(view, word, names, patterns))
    return tuple(target for target in found if isinstance(target, str) or target.queue not in found)


def workers(view: StateView, targets: Iterable[Target]) -> list[WorkerId]:
    """The workers of `targets`, in their order."""
    found: dict[WorkerId, None] = {}
    for target in targets:
        if isinstance(target, WorkerId):
            found[target] = None
        else:
            found |= dict.fromkeys(WorkerId(target, slot) for slot in slots(view, target))
    return list(found)


def _meant(view: StateView, word: str, names: Sequence[str], patterns: Sequence[str]) -> list[Target]:
    if word in names:
        return [word]
    if word == "*":
        return list(patterns)
    if any(sign in word for sign in "*?["):
        queues = [name for name in patterns if fnmatchcase(name, word)]
        if queues:
            return list(queues)
        return _required([worker for worker in workers(view, patterns) if fnmatchcase(str(worker), word)], word, names)
    try:
        worker = WorkerId.parse(word)
    except ValueError:
        return _required([], word, names)
    taken = worker.queue in names and worker.slot in slots(view, worker.queue)
    return _required([worker] if taken else [], word, names)


def _required(found: Sequence[Target], word: str, names: Sequence[str]) -> list[Target]:
    if not found:
        listed = f"Queues are: {', '.join(names[:20])}." if names else "There are no queues."
        hint = did_you_mean(word, names, listed)
        raise NoSuchTarget(f'"{word}" is no queue and no worker here', hint=hint[0].upper() + hint[1:])
    return list(found)
