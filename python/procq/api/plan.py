"""/v1/plan: what the manifest on disk would change."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from procq.api.respond import control_of, respond


async def get_plan(request: Request) -> Response:
    """GET /v1/plan."""
    return respond(await control_of(request).plan())
