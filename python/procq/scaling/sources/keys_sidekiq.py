"""How Sidekiq keeps its queues in Redis. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from procq.scaling.reading import Reading
from procq.scaling.sources.jobs import age, number_in, object_in
from procq.scaling.sources.keys import Command, Moment, Recipe, said, scaled, spread, text, whole

if TYPE_CHECKING:
    from procq.scaling.place import Place

_SETS: Final = ("schedule", "retry")
_PROCESSES: Final = 200
"""Processes that are asked what they do."""
_DUE: Final = 500
"""Jobs of a set that are looked at one by one, of those that are due now, and of those that will be soon."""
_LATER: Final = 200
"""The same of those for later. Where there are more, nobody asks for them: they only are shown."""
_TOGETHER: Final = 5
"""Jobs that are looked at at one place: those of one moment are in the order of their text, so often of their queue."""
_LARGE: Final = 1e11
"""Times that are larger are in milliseconds."""


def sidekiq(place: Place, moment: Moment) -> Recipe:
    """A list for each queue; one sorted set for what is scheduled on all queues, and one for what is tried again."""
    prefix = f"{place.options['prefix']}:" if "prefix" in place.options else ""
    key, sets = f"{prefix}queue:{place.queue}", [f"{prefix}{name}" for name in _SETS]
    waiting, tail, processes, *counts = yield [
        ("LLEN", key),
        ("LINDEX", key, -1),
        ("SSCAN", f"{prefix}processes", 0, "COUNT", _PROCESSES),
        *(("ZCOUNT", each, "-inf", until) for until in (moment.now, moment.due, "+inf") for each in sets),
    ]
    # Before 7 it was called workers.
    names = [text(name) for name in said(processes)[1]][:_PROCESSES]
    hashes = [("HVALS", f"{prefix}{name}:{each}") for name in names for each in ("work", "workers")]
    parts = _parts(sets, [whole(count) for count in counts])
    asked = [*hashes, *(command for part in parts for command in part.commands)]
    replies = iter((yield asked) if asked else [])
    at_work = [object_in(value) for reply in islice(replies, len(hashes)) for value in said(reply)]
    running = sum(1 for work in at_work if work.get("queue") == place.queue)
    oldest = age(moment.now, _seconds(object_in(said(tail)).get("enqueued_at")))
    found = [part.jobs(place.queue, replies) for part in parts]
    now, soon, later = (sum(found[first : first + len(sets)]) for first in range(0, len(found), len(sets)))
    is_known = all(part.count <= _LATER for part in parts[-len(sets) :])
    return Reading(whole(waiting) + now + soon, running, later if is_known else None, oldest, soon)


@dataclass(frozen=True, slots=True)
class _Part:
    """So many jobs of a sorted set, of all queues, that follow each other; `commands` ask for some or all of them."""

    count: int
    commands: Sequence[Command]

    def jobs(self, queue: str, replies: Iterator[Any]) -> int:
        """How many are of the queue, by the next of the replies, which are taken. Estimated where some were asked for.

        That is 0 where none was.
        """
        seen = [job for reply in islice(replies, len(self.commands)) for job in said(reply)]
        return scaled(sum(object_in(job).get("queue") == queue for job in seen), len(seen), self.count)


def _parts(sets: Sequence[str], counts: Sequence[int]) -> list[_Part]:
    """Of each set what is due now, then of each what is due soon, then what is for later.

    `counts` are how many jobs of each set are due now, how many soon or now, and how many there are.
    """
    parts = []
    for index, count in enumerate(counts):
        first = counts[index - len(sets)] if index >= len(sets) else 0
        is_later, size = index >= 2 * len(sets), max(0, count - first)
        spans = [] if is_later and size > _LATER else spread(first, size, _DUE, _TOGETHER)
        parts.append(_Part(size, [("ZRANGE", sets[index % len(sets)], *span) for span in spans]))
    return parts


def _seconds(value: Any) -> float | None:
    """Sidekiq has counted in milliseconds since its version 8, in seconds before."""
    found = number_in(value)
    return found if found is None or found < _LARGE else found / 1000
