"""/v1/restarts: replacing workers that run."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from procq.api.bodies import read_object
from procq.api.problems import bad_request
from procq.api.respond import control_of, respond
from procq.api.running import restart
from procq.targets import resolve


async def create_restart(request: Request) -> Response:
    """POST /v1/restarts: `targets`, a list of queues, workers and patterns; `rolling` in batches, as `update` says."""
    control = control_of(request)
    asked = await read_object(request, {"targets", "rolling"})
    words, rolling = asked.get("targets"), asked.get("rolling", False)
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise bad_request(
            '"targets" must be a list of queues, workers or patterns', hint='As in {"targets": ["emails"]}.'
        )
    if not isinstance(rolling, bool):
        raise bad_request('"rolling" must be true or false')
    return respond(restart(control, resolve(control.view(), words, wanted_only=True), rolling), HTTPStatus.ACCEPTED)
