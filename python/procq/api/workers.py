"""/v1/workers: single workers, by id or chosen by `?target=`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from starlette.requests import Request
from starlette.responses import Response

from procq import targets, wire
from procq.api.bodies import read_object
from procq.api.control import Control
from procq.api.problems import bad_request, not_found
from procq.api.respond import control_of, respond, targets_of
from procq.api.running import change_workers
from procq.intent import desired_queue
from procq.model import WorkerId
from procq.views import About, worker_view


async def list_workers(request: Request) -> Response:
    """GET /v1/workers."""
    control = control_of(request)
    about = await control.about()
    chosen = targets.workers(control.view(), targets_of(request, control, ("*",)))
    return respond(wire.WorkerList(tuple(views(control, chosen, about))))


async def patch_workers(request: Request) -> Response:
    """PATCH /v1/workers?target=…: `running` and `paused`, either or both."""
    control = control_of(request)
    chosen = targets_of(request, control, (), wanted_only=True)
    changes = await read_object(request, {"running", "paused"})
    if not chosen:
        raise bad_request("no target", hint="Say which, as in /v1/workers?target=emails; `*` is all.")
    if not changes:
        raise bad_request("nothing to change", hint='Send "running", "paused", or both.')
    return respond(change_workers(control, chosen, changes))


async def get_worker(request: Request) -> Response:
    """GET /v1/workers/{id}."""
    control = control_of(request)
    about = await control.about()
    text = str(request.path_params["id"])
    for found in targets.workers(control.view(), targets.resolve(control.view(), (text,))):
        if str(found) == text:
            return respond(next(views(control, (found,), about)))
    raise not_found(f'"{text}" is not one worker')


def views(control: Control, chosen: Iterable[WorkerId], about: About) -> Iterator[wire.WorkerView]:
    """The views of some workers."""
    view, now = control.view(), control.now()
    for worker in chosen:
        desired = desired_queue(view.intent, worker.queue) if view.intent else None
        yield worker_view(worker, desired, view.queue(worker.queue), now, about, worker.queue in view.held)
