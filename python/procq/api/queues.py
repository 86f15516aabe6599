"""/v1/queues: the queues, how many workers they have, and whether they run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from procq import intent, wire
from procq.api.bodies import read_object
from procq.api.control import Control
from procq.api.problems import ApiError, bad_request
from procq.api.respond import control_of, respond
from procq.api.running import set_running
from procq.intent import Intent
from procq.targets import resolve
from procq.views import queue_names, queue_view

_NUMBER = re.compile(r"([+-]?)(\d{1,6})", re.ASCII)


async def list_queues(request: Request) -> Response:
    """GET /v1/queues."""
    control = control_of(request)
    about = await control.about()
    view, now = control.view(), control.now()
    return respond(wire.QueueList(tuple(queue_view(view, name, now, about) for name in queue_names(view))))


async def get_queue(request: Request) -> Response:
    """GET /v1/queues/{name}."""
    control = control_of(request)
    return await _queue(control, _existing(control, request))


async def patch_queue(request: Request) -> Response:
    """PATCH /v1/queues/{name}: `workers` ("6", "+2", "-1", "auto") and `running`, either or both."""
    control = control_of(request)
    name = _existing(control, request)
    changes = await read_object(request, {"workers", "running"})
    if not changes:
        raise bad_request("nothing to change", hint='Send "workers", "running", or both.')
    scaled = _scaling(name, changes)
    if "running" in changes:
        set_running(control, (name,), changes["running"])
    if scaled is not None:
        try:
            control.change(scaled, f"{name} scaled to {changes['workers']} by hand")
        except KeyError:
            raise _leaving(name) from None
        except ValueError as error:
            raise bad_request(str(error)) from None
    return await _queue(control, name)


def _existing(control: Control, request: Request) -> str:
    name = str(request.path_params["name"])
    if name not in queue_names(control.view()):
        resolve(control.view(), (name,))
        raise bad_request(f'"{name}" is not a queue', hint="Single workers are under /v1/workers.")
    return name


def _scaling(name: str, changes: Mapping[str, Any]) -> Callable[[Intent], Intent] | None:
    if "workers" not in changes:
        return None
    wanted = changes["workers"]
    text = str(wanted) if isinstance(wanted, str | int) and not isinstance(wanted, bool) else ""
    if text == "auto":
        return partial(intent.scale, queue=name, how=intent.Auto())
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise bad_request('"workers" must be a number, as 6, "+2" or "-1", or "auto"')
    number = int(found[2])
    if not found[1]:
        return partial(intent.scale, queue=name, how=intent.ScaleTo(number))
    return partial(intent.scale, queue=name, how=intent.ScaleBy(number if found[1] == "+" else -number))


def _leaving(name: str) -> ApiError:
    return ApiError(HTTPStatus.CONFLICT, f'"{name}" is being emptied: it is no longer in the manifest')


async def _queue(control: Control, name: str) -> Response:
    about = await control.about()
    return respond(queue_view(control.view(), name, control.now(), about))
