"""What numbers look like that are told to others. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
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


def pieces(families: Iterable[Family], most: int) -> Iterator[list[Family]]:
    """All of it in pieces of at most `most` points, in order; a family may go on in the next piece."""
    piece: list[Family] = []
    room = most
    for family in families:
        points = family.points
        while points:
            piece.append(replace(family, points=points[:room]))
            points, room = points[room:], room - len(points[:room])
            if not room:
                yield piece
                piece, room = [], most
    if piece:
        yield piece
