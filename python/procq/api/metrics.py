"""/metrics: everything that is measured, for Prometheus."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from procq.api.respond import control_of
from procq.telemetry.exposition import CONTENT_TYPE, render


async def get_metrics(request: Request) -> Response:
    """GET /metrics: the text that Prometheus scrapes."""
    families = await control_of(request).measures()
    # In a thread, as reading them is: a thousand queues take longer than the control loop may be held.
    return Response(await asyncio.to_thread(render, families), headers={"Content-Type": CONTENT_TYPE})
