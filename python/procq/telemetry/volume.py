"""How much the workers of a queue write, and how much of it is dropped. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

SINKS: Final = ("console", "file", "reader")
"""Who may not get what is written."""


@dataclass(frozen=True, slots=True)
class Volume:
    """Since procq was started: `bytes` and `lines` that were written, and bytes that were `dropped`, by sink."""

    bytes: int
    lines: int
    dropped: Mapping[str, int] = field(default_factory=dict)
