"""GET /v1/events: what is remembered after what the journal has, chosen by what, when and of whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from procq.client import Client, Refused
from procq.journal.record import JournalUnreadable, Past
from procq.wire import EventView
from tests.unit.api.serving import PATIENCE, Served

NOW = 1_800_000_000
FIRST = NOW * 1_000_000
"""The id that the first event of this control plane has."""


class Kept:
    """Pages of what was before, two events each."""

    def __init__(self, events: Sequence[EventView]) -> None:
        self.events = list(events)
        self.broken = False

    def __call__(self, after: int, before: int, *, newest: bool = False) -> list[EventView]:
        if self.broken:
            raise JournalUnreadable("broken")
        found = [event for event in self.events if after < event.id < before]
        return found[::-1][:2] if newest else found[:2]


def before(number: int) -> EventView:
    queue = "old" if number % 2 else "emails"
    return EventView(number, NOW - 1000.0 + number, "exited" if number % 3 else "started", "", queue, f"{queue}.1")


PAST = [before(number) for number in range(101, 111)]


@pytest.fixture
def kept(shop: Served) -> Kept:
    return Kept(PAST)


@pytest.fixture
def client(shop: Served, kept: Kept) -> Client:
    """Of a control plane with three events of its own."""

    def begin() -> None:
        history = shop.control.history
        history._events.clear()
        history.base = history._next = 0
        history.attach(Past(110), lambda entry: None, kept)
        history.note("changed", "one")
        history.note("scaled", "two", queue="emails")
        history.note("changed", "three")

    shop.call(begin)
    return Client(shop.project, PATIENCE)


def ids(client: Client, after: int | None = None, **query: object) -> list[int]:
    given = {name: [str(value)] if not isinstance(value, list) else value for name, value in query.items()}
    return [event.id for event in client.events(after, follow=False, query=given)]


def test_all_is_told_once_and_in_order(client: Client) -> None:
    everything = [*range(101, 111), FIRST, FIRST + 1, FIRST + 2]
    assert ids(client) == everything
    for place, last in enumerate(everything):
        assert ids(client, last) == everything[place + 1 :]
    # An id that is still to come.
    assert ids(client, 10**17) == everything


def test_the_newest(client: Client) -> None:
    assert ids(client, limit=0) == []
    assert ids(client, limit=2) == [FIRST + 1, FIRST + 2]
    assert ids(client, limit=3) == [FIRST, FIRST + 1, FIRST + 2]
    assert ids(client, limit=5) == [109, 110, FIRST, FIRST + 1, FIRST + 2]
    assert ids(client, limit=500)[0] == 101


def test_what_is_chosen(client: Client) -> None:
    assert ids(client, target="old") == [101, 103, 105, 107, 109]
    assert ids(client, target=["old.1", "em*"], limit=2) == [110, FIRST + 1]
    assert ids(client, kind="started,scaled") == [102, 105, 108, FIRST + 1]
    assert ids(client, kind=["started", "scaled"], target="emails") == [102, 108, FIRST + 1]
    assert ids(client, kind="started", limit=1) == [108]
    assert ids(client, since=NOW - 892, until=NOW - 891) == [108, 109]
    assert ids(client, 105, kind="started") == [108]


def test_what_is_forgotten_before_what_a_reader_has_seen_is_told(client: Client) -> None:
    found = list(client.events(50, follow=False))
    assert [(found[0].id, found[0].kind)] == [(100, "gap")]
    assert found[1] == PAST[0]


def test_a_journal_that_is_broken_hides_nothing_else(client: Client, kept: Kept) -> None:
    kept.broken = True
    assert ids(client) == [FIRST, FIRST + 1, FIRST + 2]
    found = list(client.events(105, follow=False))
    assert [event.kind for event in found] == ["changed", "scaled", "changed"]


def test_following_goes_on_choosing(shop: Served, client: Client) -> None:
    following: Iterator[EventView] = client.events(query={"kind": ["scaled"], "limit": ["1"]})
    assert next(following).id == FIRST + 1
    shop.call(lambda: shop.control.history.note("changed", "not this"))
    shop.call(lambda: shop.control.history.note("scaled", "but this"))
    assert next(following).text == "but this"
    following.close()  # type: ignore[attr-defined]


def test_a_reader_that_falls_behind_gets_it_from_the_journal(shop: Served, client: Client, kept: Kept) -> None:
    history = shop.control.history
    last = FIRST + 2

    def hurry() -> None:
        for number in range(3_000):
            history.note("test", str(number))
        kept.events += [EventView(last + n + 1, float(NOW), "test", str(n)) for n in range(2_500)]

    shop.call(hurry)
    found = list(client.events(last, follow=False))
    assert [event.text for event in found] == [str(number) for number in range(3_000)]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"kind": ["exitd"]}, "no kind of event"),
        ({"since": ["yesterday"]}, "since"),
        ({"until": ["nan"]}, "until"),
        ({"limit": ["-1"]}, "limit"),
        ({"limit": ["9" * 12]}, "limit"),
        ({"target": ["nobody"]}, "no queue and no worker"),
    ],
)
def test_what_is_not_understood(client: Client, query: dict[str, list[str]], said: str) -> None:
    with pytest.raises(Refused, match=said):
        list(client.events(follow=False, query=query))


def test_until_does_not_go_with_following(shop: Served, tmp_path: Path) -> None:
    assert shop.request("GET", "/v1/events?until=1")[0] == 400
