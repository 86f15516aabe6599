"""How BullMQ, Sidekiq and Laravel keep their queues in Redis. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from procq.scaling.reading import Reading
from procq.scaling.sources.jobs import age, number_in, object_in
from procq.scaling.sources.keys import Moment, Recipe, said, scored, text, whole

if TYPE_CHECKING:
    from procq.scaling.place import Place

_SAMPLE: Final = 200
"""Jobs, or processes, that are looked at one by one."""
_OLD_MARKER: Final = "0:"
_LARGE: Final = 1e11
"""Times that are larger are in milliseconds."""


def bullmq(place: Place, moment: Moment) -> Recipe:
    """Lists, and sorted sets for what has a priority or is for later, whose scores are milliseconds times 4096."""
    key = f"{place.options.get('prefix', 'bull')}:{place.queue}"
    last, last_due = (int(at * 1000) * 4096 + 4095 for at in (moment.now, moment.due))
    waiting, prioritized, running, delayed, due, tail, paused, soon = yield [
        ("LLEN", f"{key}:wait"),
        ("ZCARD", f"{key}:prioritized"),
        ("LLEN", f"{key}:active"),
        ("ZCARD", f"{key}:delayed"),
        ("ZCOUNT", f"{key}:delayed", "-inf", last_due),
        ("LRANGE", f"{key}:wait", -2, -1),
        ("HEXISTS", f"{key}:meta", "paused"),
        ("ZCOUNT", f"{key}:delayed", f"({last}", last_due),
    ]
    later = whole(delayed) - whole(due)
    if whole(paused):
        return Reading(0, whole(running), later)
    ids = [text(job) for job in reversed(said(tail))]
    jobs = [job for job in ids if not job.startswith(_OLD_MARKER)]
    count = whole(waiting) - (len(ids) - len(jobs)) + whole(prioritized) + whole(due)
    oldest = None
    if jobs:
        (about,) = yield [("HMGET", f"{key}:{jobs[0]}", "timestamp", "delay")]
        sent, delay = (number_in(value) for value in said(about))
        oldest = None if sent is None else age(moment.now, (sent + (delay or 0.0)) / 1000)
    return Reading(count, whole(running), later, oldest, whole(soon))


def sidekiq(place: Place, moment: Moment) -> Recipe:
    """A list for each queue; one sorted set for what is scheduled on all queues, and one for what is tried again."""
    prefix = f"{place.options['prefix']}:" if "prefix" in place.options else ""
    key = f"{prefix}queue:{place.queue}"
    waiting, tail, processes, *later = yield [
        ("LLEN", key),
        ("LINDEX", key, -1),
        ("SSCAN", f"{prefix}processes", 0, "COUNT", _SAMPLE),
        *(("ZCARD", f"{prefix}{each}") for each in ("schedule", "retry")),
        *(("ZRANGE", f"{prefix}{each}", 0, _SAMPLE - 1, "WITHSCORES") for each in ("schedule", "retry")),
    ]
    due, soon, delayed = _sidekiq_later(place.queue, moment, later)
    # Before 7 it was called workers.
    names = [text(name) for name in said(processes)[1]][:_SAMPLE]
    hashes = [f"{prefix}{name}:{each}" for name in names for each in ("work", "workers")]
    replies = (yield [("HVALS", name) for name in hashes]) if hashes else []
    at_work = [object_in(value) for reply in replies for value in said(reply)]
    running = sum(1 for work in at_work if work.get("queue") == place.queue)
    oldest = age(moment.now, _seconds(object_in(said(tail)).get("enqueued_at")))
    return Reading(whole(waiting) + due, running, delayed, oldest, soon)


def _sidekiq_later(queue: str, moment: Moment, replies: list[Any]) -> tuple[int, int, int | None]:
    """How many jobs of the queue are due now or soon, how many of them soon, and how many are for later.

    The last of these only where all jobs were looked at.
    """
    counts, sets = replies[:2], replies[2:]
    times = [at for reply in sets for job, at in scored(reply) if object_in(job).get("queue") == queue]
    due = [at for at in times if at <= moment.due]
    soon = sum(1 for at in due if at > moment.now)
    return len(due), soon, len(times) - len(due) if all(whole(count) <= _SAMPLE for count in counts) else None


def _seconds(value: Any) -> float | None:
    """Sidekiq has counted in milliseconds since its version 8, in seconds before."""
    found = number_in(value)
    return found if found is None or found < _LARGE else found / 1000


def laravel(place: Place, moment: Moment) -> Recipe:
    """A list, and sorted sets of what runs, by when it is given up, and of what is for later."""
    key = f"{place.options['prefix']}queues:{place.queue}"
    now = moment.now
    waiting, lost, running, due, delayed, head, soon = yield [
        ("LLEN", key),
        # A worker puts these back before it takes a job.
        ("ZCOUNT", f"{key}:reserved", "-inf", now),
        ("ZCOUNT", f"{key}:reserved", f"({now}", "+inf"),
        ("ZCOUNT", f"{key}:delayed", "-inf", moment.due),
        ("ZCOUNT", f"{key}:delayed", f"({moment.due}", "+inf"),
        ("LINDEX", key, 0),
        ("ZCOUNT", f"{key}:delayed", f"({now}", moment.due),
    ]
    job = object_in(said(head))
    # Newer ones tell it themselves, Horizon has always done so. What was delayed has waited since it was due.
    made = number_in(job.get("createdAt")) or number_in(job.get("pushedAt"))
    since = None if made is None else made + (number_in(job.get("delay")) or 0.0)
    count = whole(waiting) + whole(lost) + whole(due)
    return Reading(count, whole(running), whole(delayed), age(now, since), whole(soon))
