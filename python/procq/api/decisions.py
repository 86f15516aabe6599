"""/v1/decisions: why queues have as many workers as they have."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from procq import wire
from procq.api.problems import bad_request
from procq.api.respond import control_of, respond
from procq.targets import resolve
from procq.views import wanted_names

_MOST = 1_000


async def get_decisions(request: Request) -> Response:
    """GET /v1/decisions?queue=NAME: the decision that holds now, then as many changes before it as `limit` says."""
    control = control_of(request)
    name, limit = request.query_params.get("queue", ""), request.query_params.get("limit", "5")
    if not limit.isdecimal() or int(limit) > _MOST:
        raise bad_request(f'"limit" must be a whole number, {_MOST} at most')
    if not name:
        raise bad_request('"queue" must name a queue')
    view = control.view()
    if name not in wanted_names(view):
        resolve(view, (name,))
        raise bad_request(f'"{name}" is not a queue', hint="Name one queue: workers and patterns have no number.")
    if view.intent is not None and not view.intent.manifest.queues[name].scales:
        raise bad_request(
            f"{name} does not scale: it has as many workers as the manifest or somebody says",
            hint="Give `workers` a range, as in 1..8, and the queue a `source` or a `schedule`.",
        )
    return respond(wire.DecisionList(tuple(await control.decisions(name, int(limit)))))
