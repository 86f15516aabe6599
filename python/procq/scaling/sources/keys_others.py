"""How BullMQ and Laravel keep their queues in Redis. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from procq.scaling.reading import Reading
from procq.scaling.sources.jobs import age, number_in, object_in
from procq.scaling.sources.keys import Moment, Recipe, said, text, whole

if TYPE_CHECKING:
    from procq.scaling.place import Place

_OLD_MARKER: Final = "0:"


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
