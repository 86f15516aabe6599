"""Which queues want their output sent, and what to say where nobody receives it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from procq.model import Manifest
from procq.text import listing

REMEDY: Final = "set OTEL_EXPORTER_OTLP_ENDPOINT where procq is started, as in http://localhost:4318"


def sending(manifest: Manifest) -> tuple[str, ...]:
    """The queues whose output is to be sent."""
    return tuple(name for name, queue in manifest.queues.items() if queue.logs.otlp)


def no_receiver(queues: Sequence[str]) -> str:
    """What is wrong where output of these is to be sent and cannot be."""
    return f"logs.otlp is yes for {listing(queues)}, and nothing receives it"
