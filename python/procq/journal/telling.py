"""Events page by page, from wherever they are kept: the newest of those that are wanted, or all after one of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from procq.journal.wanted import Wanted
from procq.wire import EventView


class Pages(Protocol):
    """Where events are kept, as `procq.journal.reader.events`."""

    def __call__(self, after: int, before: int, *, newest: bool = False) -> list[EventView]:
        """A page of those between two ids: the oldest, or the newest, the newest first."""


def pages_of(path: Path) -> Pages:
    """The pages of the journal that is, or will be, in this file. Each call may raise JournalUnreadable."""
    # Nobody pays for SQLite who never asks.
    from procq.journal.reader import events

    return partial(events, path)


def forward(pages: Pages, wanted: Wanted, after: int, before: int) -> Iterator[list[EventView]]:
    """All that are wanted between two ids, in their order and in pieces, which may be empty."""
    while page := pages(after, before):
        after = page[-1].id
        yield wanted.among(page)


def has_any(pages: Pages, wanted: Wanted, before: int) -> bool:
    """Whether there is one before an id that is wanted."""
    while page := pages(0, before, newest=True):
        if wanted.among(page):
            return True
        before = page[-1].id
    return False


def start(pages: Pages, wanted: Wanted, number: int | None, before: int) -> int:
    """The id after which those begin that are wanted, before `before`: the newest `number` of them, None: all."""
    if number is None and wanted.since is None:
        return 0
    found, seen = 0, before
    while number is None or found < number:
        page = pages(0, seen, newest=True)
        if not page or (wanted.since is not None and all(event.at < wanted.since for event in page)):
            break
        for event in page:
            if number is not None and found == number:
                break
            found, seen = found + wanted.takes(event), event.id
    return seen - 1


def newest(pages: Pages, wanted: Wanted, number: int | None, before: int) -> Iterator[list[EventView]]:
    """The newest `number` that are wanted before an id, in their order; None: all."""
    yield from forward(pages, wanted, start(pages, wanted, number, before), before)
