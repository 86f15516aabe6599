"""How Celery keeps its queues in Redis. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from procq.scaling.reading import Reading
from procq.scaling.sources.jobs import age, number_in, object_in
from procq.scaling.sources.keys import Moment, Recipe, said, scaled, spread, whole

if TYPE_CHECKING:
    from procq.scaling.place import Place

_PRIORITIES: Final = ("", "\x06\x163", "\x06\x166", "\x06\x169")
"""What is added to the queue's name for each step of priority."""
_LOOKED_AT: Final = 100
"""Messages of a list whose times are looked at, spread over all of it: the others are taken to be like them."""
_TOGETHER: Final = 10
"""Messages that are looked at at one place: to find a place Redis goes through the list."""
_UNACKED: Final = 300
"""Messages that workers may hold before they are no longer looked at."""


def celery(place: Place, moment: Moment) -> Recipe:
    """Lists that are pushed at the head and popped at the tail, and one hash of whatever workers have not finished."""
    prefix = place.options.get("prefix", "")
    lists = [f"{prefix}{place.queue}{priority}" for priority in _PRIORITIES]
    held = f"{prefix}unacked"
    *lengths, unacked = yield [*(("LLEN", key) for key in lists), ("HLEN", held)]
    waiting, many = sum(map(whole, lengths)), whole(unacked) > _UNACKED
    filled = [(key, length) for key, length in zip(lists, map(whole, lengths), strict=True) if length]
    if not filled and not whole(unacked):
        return Reading(0, 0, 0)
    looks = [[("LRANGE", key, *ends) for ends in spread(0, length, _LOOKED_AT, _TOGETHER)] for key, length in filled]
    asked = [command for look in looks for command in look]
    replies = yield asked if many or not whole(unacked) else [*asked, ("HVALS", held)]
    running, at_workers = _held(said(replies[-1]), place.queue, moment) if len(replies) > len(asked) else (0, 0)
    rest, later, soon = iter(replies), 0, 0
    sent: list[float] = []
    for look, (_, length) in zip(looks, filled, strict=True):
        messages = [object_in(message) for reply in islice(rest, len(look)) for message in said(reply)]
        etas = [_eta(message) or 0.0 for message in messages]
        later += scaled(sum(eta > moment.due for eta in etas), len(etas), length)
        soon += scaled(sum(moment.now < eta <= moment.due for eta in etas), len(etas), length)
        sent += _sent(messages, moment)
    return Reading(
        waiting - later,
        None if many else running,
        None if many else later + at_workers,
        age(moment.now, min(sent, default=None)),
        min(soon, waiting - later),
    )


def _held(entries: Iterable[Any], queue: str, moment: Moment) -> tuple[int | None, int]:
    """How many messages of a queue workers have begun or will begin next, and how many they keep for later.

    The messages of all queues are together. Each tells its exchange and its routing key, which is the queue's name
    unless somebody has chosen another one; whose message that is nobody can tell.
    """
    running, later, strange = 0, 0, False
    for entry in entries:
        try:
            message, exchange, key = json.loads(entry)
        except (ValueError, TypeError):
            strange = True
            continue
        strange = strange or (exchange not in ("", key) and queue not in (exchange, key))
        if queue in (key, exchange) and isinstance(message, Mapping):
            if (_eta(message) or 0.0) > moment.now:
                later += 1
            else:
                running += 1
    return None if strange else running, later


def _sent(messages: Iterable[Mapping[str, Any]], moment: Moment) -> Iterable[float]:
    """Since when these have been waiting, where they tell: most do not."""
    for message in messages:
        published = number_in(_part(message, "properties").get("published_at"))
        eta = _eta(message)
        since = eta if eta is not None else published
        if since is not None and since <= moment.now:
            yield since


def _eta(message: Mapping[str, Any]) -> float | None:
    """When it is to begin; None is at once."""
    eta = _part(message, "headers").get("eta")
    if not isinstance(eta, str):
        return None
    try:
        found = datetime.fromisoformat(eta)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _part(message: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = message.get(name)
    return found if isinstance(found, Mapping) else {}
