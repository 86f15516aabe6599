"""Who it is that tells: the attributes of everything that is sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import unquote

Value = str | bool | int | float | Sequence[str] | Sequence[bool] | Sequence[int] | Sequence[float]

_MOST = 128
"""Attributes that are taken from a list."""


def listed(text: str) -> dict[str, str]:
    """The attributes of a list as OTEL_RESOURCE_ATTRIBUTES is one: `team=mail,stage=live`, URL-encoded."""
    found: dict[str, str] = {}
    for pair in text.split(",")[:_MOST]:
        name, equals, value = pair.partition("=")
        if equals and name.strip():
            found[unquote(name.strip())] = unquote(value.strip())
    return found


def given(environ: Mapping[str, str]) -> dict[str, str]:
    """What the standard variables say, which counts more than what is known otherwise."""
    found = listed(environ.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    if environ.get("OTEL_SERVICE_NAME"):
        found["service.name"] = environ["OTEL_SERVICE_NAME"]
    return found


def attributes(said: Mapping[str, Value], own: Mapping[str, str | int]) -> dict[str, Value]:
    """`own` are what procq knows of itself. The name of the service is `procq` where nobody has `said` another."""
    return {"service.name": "procq", **own, **said}
