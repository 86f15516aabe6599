"""Who it is that tells: the attributes of everything that is sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

_MOST = 128
"""Attributes that are taken from the environment."""


def given(environ: Mapping[str, str]) -> dict[str, str]:
    """What the standard variables say, which counts more than what is known otherwise."""
    found: dict[str, str] = {}
    for pair in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")[:_MOST]:
        name, equals, value = pair.partition("=")
        if equals and name.strip():
            found[unquote(name.strip())] = unquote(value.strip())
    if environ.get("OTEL_SERVICE_NAME"):
        found["service.name"] = environ["OTEL_SERVICE_NAME"]
    return found


def attributes(environ: Mapping[str, str], own: Mapping[str, str | int]) -> dict[str, str | int]:
    """`own` are what procq knows of itself. The name of the service is `procq` where nobody says another."""
    return {"service.name": "procq", **own, **given(environ)}
