"""What every resource does: find the control plane, answer with a view."""

from __future__ import annotations

from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from procq import wire
from procq.api.control import Control
from procq.targets import Target, resolve


def control_of(request: Request) -> Control:
    """The control plane that serves this request."""
    return cast("Control", request.app.state.control)


def targets_of(
    request: Request, control: Control, default: tuple[str, ...], *, wanted_only: bool = False
) -> tuple[Target, ...]:
    """What `?target=…&target=…` means; see `procq.targets.resolve`."""
    return resolve(control.view(), request.query_params.getlist("target") or default, wanted_only=wanted_only)


def respond(view: object, status: int = 200) -> Response:
    """A view as JSON."""
    return Response(wire.to_json(view), status, media_type="application/json")
