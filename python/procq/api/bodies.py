"""Bodies of requests: bounded, JSON objects, with known keys only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request

from procq.api.problems import ApiError, bad_request

LIMIT = 1 << 20
"""Bytes a body may have."""
PATIENCE = 10.0
"""Seconds that a whole body may take to arrive."""


async def read_object(request: Request, allowed: set[str]) -> Mapping[str, Any]:
    """The JSON object in the body. Raises ApiError for anything else, and for keys that are not `allowed`."""
    try:
        async with asyncio.timeout(PATIENCE):
            body = await _body(request)
    except TimeoutError:
        raise ApiError(HTTPStatus.REQUEST_TIMEOUT, f"the body has not arrived within {PATIENCE:g} s") from None
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be JSON", hint="Send Content-Type: application/json."
        )
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise bad_request("the body is not JSON") from None
    if not isinstance(data, dict):
        raise bad_request("the body must be a JSON object")
    unknown = sorted(set(data) - allowed)
    if unknown:
        raise bad_request(f'unknown key "{unknown[0]}"', hint=f"Known are: {', '.join(sorted(allowed))}.")
    return data


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LIMIT:
            raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {LIMIT} bytes")
    return bytes(body)
