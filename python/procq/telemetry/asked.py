"""Whether anything asks for telemetry. Imports next to nothing: every control plane looks, and few are asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_FILES: Final = ("OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE")


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether anything asks for telemetry; the quick look that all but a few control planes are content with."""
    if file(environ) is None and environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    return any(
        name.startswith("OTEL_") and (name.endswith(("_ENDPOINT", "_EXPORTER")) or name in _FILES) and value
        for name, value in environ.items()
    )


def file(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The variable that names a file, and the file; None where none does. With one the other variables say nothing."""
    for variable in _FILES:
        if path := environ.get(variable, "").strip():
            return variable, path
    return None
