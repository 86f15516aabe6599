"""How RQ, Huey, Dramatiq, arq and SAQ keep their queues in Redis. No I/O."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from procq.scaling.reading import Reading
from procq.scaling.sources.jobs import age, number_in, object_in
from procq.scaling.sources.keys import Command, Moment, Recipe, either, said, scored, text, whole

if TYPE_CHECKING:
    from procq.scaling.place import Place

_SAMPLE: Final = 200
"""Jobs that are looked at one by one."""


def rq(place: Place, moment: Moment) -> Recipe:
    """RQ moves scheduled jobs only while a scheduler runs; a worker that is started may be that one."""
    prefix, queue = place.options.get("prefix", "rq"), place.queue
    waiting, running, due, delayed, head, soon = yield [
        ("LLEN", f"{prefix}:queue:{queue}"),
        ("ZCARD", f"{prefix}:wip:{queue}"),
        ("ZCOUNT", f"{prefix}:scheduled:{queue}", "-inf", moment.due),
        ("ZCOUNT", f"{prefix}:scheduled:{queue}", f"({moment.due}", "+inf"),
        ("LINDEX", f"{prefix}:queue:{queue}", 0),
        ("ZCOUNT", f"{prefix}:scheduled:{queue}", f"({moment.now}", moment.due),
    ]
    since = None
    if said(head):
        (enqueued,) = yield [("HGET", f"{prefix}:job:{text(head)}", "enqueued_at")]
        since = _iso(said(enqueued))
    count, oldest = whole(waiting) + whole(due), age(moment.now, since)
    return Reading(count, whole(running), whole(delayed), oldest, whole(soon))


def huey(place: Place, moment: Moment) -> Recipe:
    """The queue is a list, or a sorted set where there are priorities. Huey does not tell what runs."""
    # Huey leaves out whatever else is in a name.
    name = re.sub("[^A-Za-z0-9_]", "", place.queue)
    key, schedule = f"huey.redis.{name}", f"huey.schedule.{name}"
    now, due_at = huey_time(moment.now, place.options), huey_time(moment.due, place.options)
    as_list, as_set, first, due, delayed, soon = yield [
        ("LLEN", key),
        ("ZCARD", key),
        ("ZRANGE", key, 0, 0),
        ("ZCOUNT", schedule, "-inf", due_at),
        ("ZCOUNT", schedule, f"({due_at}", "+inf"),
        ("ZCOUNT", schedule, f"({now}", due_at),
    ]
    since = None
    if not isinstance(first, Exception) and first:
        # Microseconds, and then the task.
        since = struct.unpack(">Q", bytes(first[0][:8]))[0] / 1e6
    count, oldest = whole(either(as_list, as_set)) + whole(due), age(moment.now, since)
    return Reading(count, None, whole(delayed), oldest, whole(soon))


def huey_time(seconds: float, options: Mapping[str, str]) -> float:
    """A time as Huey writes it: it takes the time in UTC, and then that for local time."""
    if options.get("utc") == "no":
        return seconds
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).timestamp()


def dramatiq(place: Place, moment: Moment) -> Recipe:
    """Messages stay in a hash until they are acknowledged, and are in a list until they are fetched."""
    key = f"{place.options.get('namespace', 'dramatiq')}:{place.queue}"
    waiting, kept, later, head = yield [
        ("LLEN", key),
        ("HLEN", f"{key}.msgs"),
        ("HLEN", f"{key}.DQ.msgs"),
        ("LINDEX", key, 0),
    ]
    asked: list[Command] = []
    if said(head):
        asked.append(("HGET", f"{key}.msgs", head))
    if whole(later):
        # Without a worker nobody moves what is due: it has to be looked for. They are in no order.
        asked.append(("HSCAN", f"{key}.DQ.msgs", 0, "COUNT", _SAMPLE))
    replies = (yield asked) if asked else []
    oldest = _dramatiq_age(moment, said(replies[0])) if said(head) else None
    due, soon = _dramatiq_due(moment, said(replies[-1])[1], whole(later)) if whole(later) else (0, 0)
    running = max(0, whole(kept) - whole(waiting))
    return Reading(whole(waiting) + due, running, whole(later) - due, oldest, soon)


def _dramatiq_age(moment: Moment, message: Any) -> float | None:
    found = object_in(message)
    if found.get("options", {}).get("retries"):
        return None  # it tells when it was sent for the first time
    sent = number_in(found.get("message_timestamp"))
    return None if sent is None else age(moment.now, sent / 1000)


def _dramatiq_due(moment: Moment, pairs: Any, every: int) -> tuple[int, int]:
    """How many delayed messages are due now or soon, and how many of them soon, judged by those that were looked at."""
    etas = [number_in(object_in(message).get("options", {}).get("eta")) for message in pairs[1::2]]
    due = [eta for eta in etas if eta is not None and eta <= moment.due * 1000]
    soon = sum(1 for eta in due if eta > moment.now * 1000)
    part = max(1.0, every / max(1, len(etas)))
    return round(len(due) * part), round(soon * part)


def arq(place: Place, moment: Moment) -> Recipe:
    """One sorted set of everything, by when it is to begin, also of what runs: that has a key besides."""
    due_at = moment.due * 1000
    due, delayed, first, soon = yield [
        ("ZCOUNT", place.queue, "-inf", due_at),
        ("ZCOUNT", place.queue, f"({due_at}", "+inf"),
        # What runs is among the first, as that is the order in which it is taken.
        ("ZRANGEBYSCORE", place.queue, "-inf", due_at, "WITHSCORES", "LIMIT", 0, _SAMPLE),
        ("ZCOUNT", place.queue, f"({moment.now * 1000}", due_at),
    ]
    jobs = [(text(job), at) for job, at in scored(first)]
    if not jobs:
        return Reading(whole(due), 0, whole(delayed))
    (marks,) = yield [("MGET", *(f"arq:in-progress:{job}" for job, _ in jobs))]
    idle = [at for (_, at), mark in zip(jobs, said(marks), strict=True) if mark is None]
    running = len(jobs) - len(idle)
    oldest = age(moment.now, idle[0] / 1000) if idle else None
    return Reading(max(0, whole(due) - running), running, whole(delayed), oldest, whole(soon))


def saq(place: Place, moment: Moment) -> Recipe:
    """Two lists of ids, and a sorted set of all that is not over, where 0 is whatever need not wait for its time."""
    key = f"saq:{place.queue}"
    waiting, running, due, delayed, head, soon = yield [
        ("LLEN", f"{key}:queued"),
        ("LLEN", f"{key}:active"),
        ("ZCOUNT", f"{key}:incomplete", 1, moment.due),
        ("ZCOUNT", f"{key}:incomplete", f"({moment.due}", "+inf"),
        ("LINDEX", f"{key}:queued", 0),
        ("ZCOUNT", f"{key}:incomplete", f"({moment.now}", moment.due),
    ]
    oldest = None
    if said(head):
        (job,) = yield [("GET", head)]
        oldest = _saq_age(moment, said(job))
    return Reading(whole(waiting) + whole(due), whole(running), whole(delayed), oldest, whole(soon))


def _saq_age(moment: Moment, job: Any) -> float | None:
    found = object_in(job)
    queued, scheduled = number_in(found.get("queued")), number_in(found.get("scheduled"))
    if not queued:
        return None
    return age(moment.now, max(queued / 1000, scheduled or 0.0))


def _iso(value: Sequence[Any] | bytes | str | None) -> float | None:
    """Seconds since 1970 of a time such as 2026-01-02T03:04:05.678901Z; without a zone it is in UTC."""
    if not isinstance(value, bytes | str):
        return None
    try:
        found = datetime.fromisoformat(text(value))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
