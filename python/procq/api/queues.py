"""/v1/queues: the queues, how many workers they have, and whether they run."""

from __future__ import annotations

import re
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from procq import intent, wire
from procq.api.bodies import read_object
from procq.api.control import Control
from procq.api.problems import bad_request
from procq.api.respond import control_of, respond
from procq.api.running import Change, apply, pausing_change, running_change
from procq.targets import resolve
from procq.views import queue_names, queue_view

_NUMBER = re.compile(r"([+-]?)(\d{1,9})", re.ASCII)


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
    """PATCH /v1/queues/{name}: any of `workers` ("6", "+2", "-1", "auto"), `running` and `paused`."""
    control = control_of(request)
    name = _existing(control, request)
    changes = await read_object(request, {"workers", "running", "paused"})
    if not changes:
        raise bad_request("nothing to change", hint='Send "workers", "running", or "paused".')
    wanted = []
    if "workers" in changes:
        wanted.append(_scaling(name, changes["workers"]))
    if "running" in changes:
        wanted.append(running_change(control, (name,), changes["running"]))
    if "paused" in changes:
        wanted.append(pausing_change((name,), changes["paused"]))
    apply(control, name, wanted)
    return await _queue(control, name)


def _existing(control: Control, request: Request) -> str:
    name = str(request.path_params["name"])
    if name not in queue_names(control.view()):
        resolve(control.view(), (name,))
        raise bad_request(f'"{name}" is not a queue', hint="Name one queue: workers and patterns have no number.")
    return name


def _scaling(name: str, wanted: object) -> Change:
    text = str(wanted) if isinstance(wanted, str | int) and not isinstance(wanted, bool) else ""
    done = f"scaled to {text}"
    if text == "auto":
        return partial(intent.scale, queue=name, how=intent.Auto()), done
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise bad_request('"workers" must be a number, as 6, "+2" or "-1", or "auto"')
    number = int(found[2])
    if not found[1]:
        return partial(intent.scale, queue=name, how=intent.ScaleTo(number)), done
    return partial(intent.scale, queue=name, how=intent.ScaleBy(number if found[1] == "+" else -number)), done


async def _queue(control: Control, name: str) -> Response:
    about = await control.about()
    return respond(queue_view(control.view(), name, control.now(), about))
