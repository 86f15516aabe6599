"""Lists and streams in Redis, whoever writes them. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from procq.scaling.reading import Reading
from procq.scaling.sources.jobs import age
from procq.scaling.sources.keys import Command, Moment, Recipe, said, scored, text, whole

if TYPE_CHECKING:
    from procq.scaling.place import Place

_MOST: Final = 500
"""Entries that are counted one by one, where Redis does not know how many there are."""


def redis_list(place: Place, moment: Moment) -> Recipe:
    """Its length."""
    (length,) = yield [("LLEN", place.options.get("key", place.queue))]
    return Reading(whole(length))


def redis_zset(place: Place, moment: Moment) -> Recipe:
    """Its members; where scores are times, those that are due."""
    key, kind = place.options.get("key", place.queue), place.options.get("scores")
    if kind is None:
        (length,) = yield [("ZCARD", key)]
        return Reading(whole(length))
    unit = 1000 if kind == "milliseconds" else 1
    due_at = moment.due * unit
    due, delayed, first, soon = yield [
        ("ZCOUNT", key, "-inf", due_at),
        ("ZCOUNT", key, f"({due_at}", "+inf"),
        ("ZRANGE", key, 0, 0, "WITHSCORES"),
        ("ZCOUNT", key, f"({moment.now * unit}", due_at),
    ]
    since = [at / unit for _, at in scored(first) if at <= moment.now * unit]
    oldest = age(moment.now, since[0] if since else None)
    return Reading(whole(due), None, whole(delayed), oldest, whole(soon))


def redis_stream(place: Place, moment: Moment) -> Recipe:
    """What a group has not been given, or without a group the length."""
    key, group = place.options.get("key", place.queue), place.options.get("group")
    length, groups, first = yield _about(key)
    if group is None:
        return Reading(whole(length), oldest=age(moment.now, _since(said(first))))
    whole(length)
    return (yield from _group(key, group, moment, groups, length, first))


def taskiq(place: Place, moment: Moment) -> Recipe:
    """A list or a stream, whichever the broker was made for."""
    key, group = place.queue, place.options.get("group", "taskiq")
    as_list, length, groups, first = yield [("LLEN", key), *_about(key)]
    if not isinstance(as_list, Exception):
        return Reading(whole(as_list))
    return (yield from _group(key, group, moment, groups, length, first))


def _about(key: str) -> list[Command]:
    return [("XLEN", key), ("XINFO", "GROUPS", key), ("XRANGE", key, "-", "+", "COUNT", 1)]


def _group(key: str, group: str, moment: Moment, groups: Any, length: Any, first: Any) -> Recipe:
    # Where there is no stream yet, asking for its groups is an error.
    every = [] if isinstance(groups, Exception) and not whole(length) else said(groups)
    known = {text(each["name"]): each for each in map(_fields, every)}
    if group not in known:
        # Nobody has been given anything: whoever makes the group may begin with the first one.
        return Reading(whole(length), 0, oldest=age(moment.now, _since(said(first))))
    found = known[group]
    last, lag = text(found["last-delivered-id"]), found.get("lag")
    most = 1 if lag is not None else _MOST
    (next_ones,) = yield [("XRANGE", key, f"({last}", "+", "COUNT", most)]
    # Redis before 7 does not say it, and no Redis does after entries were deleted out of turn.
    waiting = len(said(next_ones)) if lag is None else int(lag)
    return Reading(waiting, int(found["pending"]), oldest=age(moment.now, _since(next_ones)))


def _fields(reply: Any) -> Mapping[str, Any]:
    return {text(name): value for name, value in zip(reply[::2], reply[1::2], strict=True)}


def _since(entries: Any) -> float | None:
    """When the first of these entries was written: its id begins with that, unless somebody chose another."""
    if not entries:
        return None
    return int(text(entries[0][0]).partition("-")[0]) / 1000
