"""/v1/events: what happened and happens, as server-sent events that can be resumed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from procq import wire
from procq.api.problems import bad_request
from procq.api.respond import control_of
from procq.history import History

HEARTBEAT = 15.0
"""Seconds after which a silent stream says that it lives."""


async def stream_events(request: Request) -> Response:
    """GET /v1/events: all that is remembered after `Last-Event-ID`, then what comes; `?follow=false` ends there."""
    history = control_of(request).history
    last = _last_event_id(request)
    follow = request.query_params.get("follow", "true")
    if follow not in {"true", "false"}:
        raise bad_request('"follow" must be true or false')
    content = _following(history, last) if follow == "true" else _remembered(history, last)
    return StreamingResponse(content, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _last_event_id(request: Request) -> int:
    text = request.headers.get("last-event-id", "0")
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise bad_request("Last-Event-ID must be the id of an event, a number")
    return int(text)


async def _remembered(history: History, last: int) -> AsyncIterator[str]:
    yield _frames(history.since(last))


async def _following(history: History, last: int) -> AsyncIterator[str]:
    async for batch in history.follow(last, HEARTBEAT):
        yield _frames(batch) or ": alive\n\n"


def _frames(events: Iterable[wire.EventView]) -> str:
    return "".join(f"id: {event.id}\nevent: {event.kind}\ndata: {wire.to_json(event)}\n\n" for event in events)
