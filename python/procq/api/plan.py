"""/v1/plan: what the manifest on disk would change."""

from __future__ import annotations

import os

from starlette.requests import Request
from starlette.responses import Response

from procq.api.problems import bad_request
from procq.api.respond import control_of, respond


async def get_plan(request: Request) -> Response:
    """GET /v1/plan: what the manifest on disk would change, or with `?file=` another one in its place."""
    file = request.query_params.get("file")
    if file is not None and not os.path.isabs(file):
        raise bad_request('"file" must be an absolute path')
    return respond(await control_of(request).plan(file))
