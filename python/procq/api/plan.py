"""/v1/plan: what the manifest on disk would change."""

from __future__ import annotations

import os
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response

from procq.api.problems import bad_request
from procq.api.respond import control_of, respond


async def get_plan(request: Request) -> Response:
    """GET /v1/plan: what the manifest on disk would change, or with `?file=` another one in its place."""
    # Not `query_params`: a path need not be Unicode.
    query = parse_qs(request.scope["query_string"].decode("ascii", "replace"), errors="surrogateescape")
    file = query["file"][-1] if "file" in query else None
    if file is not None and (not os.path.isabs(file) or "\0" in file):
        raise bad_request('"file" must be an absolute path')
    return respond(await control_of(request).plan(file))
