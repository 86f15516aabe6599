"""Connections whose places are read one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from procq.scaling.reading import Reading
from procq.scaling.sources.port import SourceError

if TYPE_CHECKING:
    from procq.scaling.place import Place


def read_each(
    places: Sequence[Place], read: Callable[[Place], Reading | SourceError]
) -> Sequence[Reading | SourceError]:
    """What `read` says of each; one that raises SourceError does not keep the others from being read."""
    return [_guarded(place, read) for place in places]


def _guarded(place: Place, read: Callable[[Place], Reading | SourceError]) -> Reading | SourceError:
    try:
        return read(place)
    except SourceError as error:
        return error
