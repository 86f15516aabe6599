"""The intent outlives who wrote it: what cannot be read is said to be so, never guessed."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from procq.intent import Intent, ScaleTo, restart, scale, stop
from procq.intent_codec import Unreadable, decode, encode
from tests.queues import EMAILS_1, manifest, queue

INTENT = restart(stop(scale(Intent(manifest(queue("emails", 3))), "emails", ScaleTo(4)), [EMAILS_1]), ["emails"], 9)


def test_round_trip() -> None:
    assert decode(encode(INTENT)) == INTENT


def test_unknown_keys_are_ignored() -> None:
    assert decode(encode(INTENT) | {"mood": "fine"}) == INTENT


def test_another_version() -> None:
    with pytest.raises(Unreadable, match="has version 2, this procq reads version 1"):
        decode(encode(INTENT) | {"version": 2})


@pytest.mark.parametrize("garbage", [None, 3, "text", [], {}, {"version": 1}, {"version": 1, "queues": 4}])
def test_garbage(garbage: object) -> None:
    with pytest.raises(Unreadable, match="damaged"):
        decode(garbage)


def paths(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = list(data.items()) if isinstance(data, dict) else list(enumerate(data)) if isinstance(data, list) else []
    return [p for key, value in items for p in ((*path, key), *paths(value, (*path, key)))]


@pytest.mark.parametrize("path", paths(encode(INTENT)), ids=str)
def test_a_wrong_type_anywhere_is_noticed(path: tuple[Any, ...]) -> None:
    data = copy.deepcopy(encode(INTENT))
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = object()
    with pytest.raises(Unreadable):
        decode(data)
