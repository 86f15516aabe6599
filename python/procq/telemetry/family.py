"""What numbers look like that are told to others. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from procq.telemetry.histogram import Buckets


@dataclass(frozen=True, slots=True)
class Point:
    """One number, or one histogram, of what the labels name."""

    labels: tuple[tuple[str, str], ...]
    value: float | Buckets


class Kind(StrEnum):
    """What a number is: one that only grows, one that is as it is now, or many counted by their size."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """All points of one name. `unit` is UCUM, "" for what has none."""

    name: str
    kind: Kind
    unit: str
    help: str
    points: tuple[Point, ...] = ()
