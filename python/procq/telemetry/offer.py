"""What workers are told of who they are, for their own telemetry. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import Final
from urllib.parse import quote

from procq.telemetry.asked import file, wanted
from procq.telemetry.resource import given

_ATTRIBUTES: Final = "OTEL_RESOURCE_ATTRIBUTES"
_NAME: Final = "OTEL_SERVICE_NAME"


def traced(environ: Mapping[str, str]) -> bool:
    """Whether procq, in this environment, sends traces; where a file is to say so it may still say no."""
    if not wanted(environ) or file(environ) is not None:
        return wanted(environ)
    from procq.telemetry.config import Signal, read

    return Signal.TRACES in read(environ).ways


def leave_cause(environ: MutableMapping[str, str]) -> None:
    """Takes the context out in which procq was started: what it runs outlives that."""
    for name in ("TRACEPARENT", "TRACESTATE", "BAGGAGE"):
        environ.pop(name, None)


def offered(variables: Mapping[bytes, bytes], queue: str, project: str) -> dict[bytes, bytes]:
    """Variables for a worker that has `variables`: its name and its place, as far as these do not say them.

    Nothing where none of them asks for telemetry: what a worker does by itself stays as it is.
    """
    own = {os.fsdecode(name): os.fsdecode(value) for name, value in variables.items() if name.startswith(b"OTEL_")}
    if not wanted(own):
        return {}
    said = given(own)
    places = {"procq.project": project, "procq.queue": queue}
    added = [f"{name}={quote(value, safe='')}" for name, value in places.items() if name not in said]
    theirs = own.get(_ATTRIBUTES, "").strip(", ")
    offers = {_ATTRIBUTES: ",".join([theirs] * bool(theirs) + added)}
    if "service.name" not in said:
        offers[_NAME] = queue
    return {os.fsencode(name): os.fsencode(value) for name, value in offers.items()}
