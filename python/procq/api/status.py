"""/v1/status: everything `procq status` shows, in one answer."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from procq import core, targets, wire
from procq.api.respond import control_of, respond, targets_of
from procq.api.workers import views
from procq.views import queue_names, queue_view


async def get_status(request: Request) -> Response:
    """GET /v1/status: queues, and the workers of `?target=`."""
    control = control_of(request)
    about = await control.about()
    view, now, facts = control.view(), control.now(), control.facts()
    chosen = targets.workers(view, targets_of(request, control, ()))
    return respond(
        wire.StatusView(
            project=facts.project,
            manifest=facts.manifest,
            in_force_since=facts.in_force_since,
            up_for=facts.up_for,
            keeper_pid=facts.keeper_pid,
            control_plane_pid=facts.control_plane_pid,
            control_plane_starts=view.epoch,
            shutting_down=view.observed.shutting_down,
            procq_version=core.VERSION,
            manifest_error=facts.manifest_error,
            tier=facts.tier,
            queues=tuple(queue_view(view, name, now, about) for name in queue_names(view)),
            workers=tuple(views(control, chosen, about)),
        )
    )


async def get_health(request: Request) -> Response:
    """GET /healthz: 200 while the workers are known, else 503."""
    healthy = control_of(request).view().complete
    return Response("ok\n" if healthy else "not attached\n", 200 if healthy else 503, media_type="text/plain")
