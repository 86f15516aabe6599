"""Errors as RFC 9457 problem details: one mapping from exceptions to answers."""

from __future__ import annotations

import traceback
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from procq import wire
from procq.errors import ManifestError, ProcqError
from procq.targets import NoSuchTarget


class ApiError(ProcqError):
    """The request cannot be done; `status` is its HTTP status."""

    def __init__(self, status: HTTPStatus, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.status = status


def not_found(message: str, hint: str | None = None) -> ApiError:
    """404."""
    return ApiError(HTTPStatus.NOT_FOUND, message, hint)


def bad_request(message: str, hint: str | None = None) -> ApiError:
    """400."""
    return ApiError(HTTPStatus.BAD_REQUEST, message, hint)


def problem(status: int, detail: str, hint: str | None = None, kind: str = "about:blank") -> Response:
    """An answer with problem details."""
    view = wire.ProblemView(HTTPStatus(status).phrase, status, detail, hint, kind)
    return Response(wire.to_json(view), status, media_type="application/problem+json")


async def on_procq_error(request: Request, error: Exception) -> Response:
    """Any error of ours."""
    assert isinstance(error, ProcqError)
    match error:
        case ApiError():
            response = problem(error.status, error.message, error.hint)
            if error.status == HTTPStatus.REQUEST_TIMEOUT:
                # What is missing of the request would be taken for the next one.
                response.headers["connection"] = "close"
            return response
        case NoSuchTarget():
            return problem(HTTPStatus.NOT_FOUND, error.message, error.hint)
        case ManifestError():
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.render(), error.hint, wire.MANIFEST_PROBLEM)
        case _:
            return problem(HTTPStatus.INTERNAL_SERVER_ERROR, error.message, error.hint)


async def on_http_error(request: Request, error: Exception) -> Response:
    """What the router refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)
    response = problem(error.status_code, f"{error.detail}: {request.method} {request.url.path}")
    response.headers.update(error.headers or {})
    return response


async def on_no_intent(request: Request, error: Exception) -> Response:
    """What the control plane before this one wanted is lost, and the manifest does not load."""
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "no manifest is in force: nothing can be changed",
        "Mend the manifest and save it; `procq check` says what is wrong. Workers are not affected.",
    )


async def on_disconnect(request: Request, error: Exception) -> Response:
    """Whoever asked has gone before the end of the request: nobody reads this, and nothing was done."""
    return problem(HTTPStatus.BAD_REQUEST, "the request was not complete")


async def on_fault(request: Request, error: Exception) -> Response:
    """A fault of ours: what the server raises afterwards is logged nowhere."""
    traceback.print_exception(error)
    detail = f"a fault of procq: {type(error).__name__}: {error}"
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail, "Please report it, with what the control plane printed.")
