"""/v1/events: what happened and happens, as server-sent events that can be resumed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from procq import wire
from procq.api.control import Control
from procq.api.problems import bad_request
from procq.api.respond import control_of
from procq.errors import UsageError
from procq.history import LENGTH, History
from procq.journal.record import JournalUnreadable
from procq.journal.telling import has_any, start
from procq.journal.wanted import Wanted, wanted
from procq.targets import NoSuchTarget, resolve
from procq.wire import EventView

HEARTBEAT = 15.0
"""Seconds after which a silent stream says that it lives."""
_MOST = 1_000_000


async def stream_events(request: Request) -> Response:
    """GET /v1/events: what happened, the newest `limit` (2000) of it, then what happens; `?follow=false` ends there.

    `target` (a queue, a worker or a pattern, several times), `kind` (several with commas between them), `since` and
    `until` (seconds since the epoch) leave events out, before and while it follows. With `since` there is no limit
    unless one is asked for. With the header Last-Event-ID all that came after that event is told instead; it begins
    with an event of the kind `gap` where some of it is forgotten.
    """
    control = control_of(request)
    asked = _asked(request)
    await _check_targets(control, asked.wanted)
    content = (_frames(batch) or ": alive\n\n" async for batch in _told(control.history, asked))
    return StreamingResponse(content, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request wants. `last` is the id that it has seen last; without one it wants the newest `number`."""

    wanted: Wanted
    last: int | None
    number: int | None
    follow: bool


def _asked(request: Request) -> _Asked:
    query = request.query_params
    follow = query.get("follow", "true")
    if follow not in {"true", "false"}:
        raise bad_request('"follow" must be true or false')
    since, until = _moment(request, "since"), _moment(request, "until")
    if until is not None and follow == "true":
        raise bad_request('"until" goes with follow=false')
    try:
        choice = wanted(query.getlist("target"), query.getlist("kind"), since, until)
    except UsageError as error:
        raise bad_request(error.message, hint=error.hint) from None
    return _Asked(choice, _last_event_id(request), _number(request, None if since else LENGTH), follow == "true")


def _moment(request: Request, name: str) -> float | None:
    text = request.query_params.get(name)
    try:
        moment = None if text is None else float(text)
    except ValueError:
        moment = math.nan
    if moment is not None and not math.isfinite(moment):
        raise bad_request(f'"{name}" must be a time in seconds since the epoch')
    return moment


def _number(request: Request, otherwise: int | None) -> int | None:
    text = request.query_params.get("limit")
    if text is None:
        return otherwise
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or int(text) > _MOST:
        raise bad_request(f'"limit" must be a whole number, {_MOST} at most')
    return int(text)


def _last_event_id(request: Request) -> int | None:
    text = request.headers.get("last-event-id")
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise bad_request("Last-Event-ID must be the id of an event, a number")
    return int(text)


async def _check_targets(control: Control, choice: Wanted) -> None:
    """Raises NoSuchTarget for a word that means nothing now, and of which nothing is known."""
    for word in choice.targets:
        try:
            resolve(control.view(), (word,))
        except NoSuchTarget:
            if not await _was_there(control.history, Wanted((word,))):
                raise


async def _was_there(history: History, about: Wanted) -> bool:
    if about.among(history.since(0)):
        return True
    if history.older is None:
        return False
    try:
        return await asyncio.to_thread(has_any, history.older, about, history.first)
    except JournalUnreadable:
        return False


async def _told(history: History, asked: _Asked) -> AsyncIterator[list[EventView]]:
    """What is wanted, in batches; an empty one where nothing has happened for a while."""
    if asked.last is None:
        cursor = await _begin(history, asked.wanted, asked.number)
    else:
        cursor = history.resumed(asked.last)
        if gap := await _gap(history, cursor):
            yield gap
    while True:
        batch = await _next(history, cursor)
        if batch:
            cursor = batch[-1].id
            if chosen := [event for event in batch if event.kind == "gap" or asked.wanted.takes(event)]:
                yield chosen
        elif not asked.follow:
            return
        else:
            await history.until_news(cursor, HEARTBEAT)
            if not history.since(cursor):
                yield []


async def _begin(history: History, choice: Wanted, number: int | None) -> int:
    """The id after which the newest `number` begin that are wanted."""
    remembered = choice.among(history.since(0))
    if number is not None and len(remembered) >= number:
        return remembered[-number].id - 1 if number else history.newest
    if history.older is None:
        return 0
    rest = None if number is None else number - len(remembered)
    try:
        return await asyncio.to_thread(start, history.older, choice, rest, history.first)
    except JournalUnreadable:
        return 0


async def _next(history: History, cursor: int) -> list[EventView]:
    """What comes after the event `cursor`: from the journal what is not remembered."""
    first = history.first
    if cursor < first - 1:
        page = await _page(history, cursor, first)
        if page:
            return page
        # What this control plane has not told itself was told by those before it, as far as it was told at all.
        cursor = max(cursor, history.base - 1) if cursor else 0
    return history.since(cursor)


async def _gap(history: History, cursor: int) -> list[EventView]:
    """That the journal does not go back to the event `cursor`, where there is a journal and it does not."""
    if not 0 < cursor < history.first - 1 or await _page(history, 0, cursor + 1):
        return []
    page = await _page(history, cursor, history.first)
    return [EventView(page[0].id - 1, page[0].at, "gap", "events before this are forgotten")] if page else []


async def _page(history: History, after: int, before: int) -> list[EventView]:
    if history.older is None:
        return []
    try:
        return await asyncio.to_thread(history.older, after, before)
    except JournalUnreadable:
        # Who writes it tells that.
        return []


def _frames(events: Iterable[wire.EventView]) -> str:
    return "".join(f"id: {event.id}\nevent: {event.kind}\ndata: {wire.to_json(event)}\n\n" for event in events)
