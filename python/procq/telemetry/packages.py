"""Packages that sending needs. Imports none of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Final

from procq.telemetry.config import Config, Means

EXTRAS: Final[Mapping[Means, str]] = {
    Means.HTTP: "procq[otlp]",
    Means.GRPC: "procq[otlp-grpc]",
    Means.CONSOLE: "procq[otlp]",
}
"""What to install for each."""
_MODULES: Final[Mapping[Means, tuple[str, ...]]] = {
    Means.HTTP: ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"),
    Means.GRPC: ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.grpc"),
    Means.CONSOLE: ("opentelemetry.sdk",),
}


def lacking(config: Config) -> Iterator[tuple[str, str]]:
    """What has to be installed for all that is to be sent, each with the first module that is missing without it."""
    told: set[str] = set()
    for means in sorted({way.means for ways in config.ways.values() for way in ways}):
        module = next((each for each in _MODULES[means] if not _there(each)), None)
        if module is not None and EXTRAS[means] not in told:
            told.add(EXTRAS[means])
            yield EXTRAS[means], module


def _there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        # A package that it is in is missing; or it is a module that does not say where it is from.
        return False
