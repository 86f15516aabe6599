"""Directories: each file is a job."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from procq.scaling.reading import Reading
from procq.scaling.sources.each import read_each
from procq.scaling.sources.jobs import age
from procq.scaling.sources.port import Kind, SourceError
from procq.scaling.url import split

if TYPE_CHECKING:
    from procq.scaling.place import Place

_MOST: Final = 50_000
"""Files that are counted: of more than that nobody has to know how many there are."""


def connect(place: Place, timeout: float) -> DirectoryConnection:
    """For all patterns in this directory."""
    return DirectoryConnection(split(place.server).path.text)


class DirectoryConnection:
    """One directory. What is in directories below it does not count."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self, places: Sequence[Place], within: float) -> Sequence[Reading | SourceError]:
        """One result for each place."""
        return read_each(places, self._read)

    def close(self) -> None:
        """Nothing is open between readings."""

    def _read(self, place: Place) -> Reading:
        pattern = place.options.get("pattern", "*")
        count, first = 0, None
        try:
            with os.scandir(self._path) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or not fnmatchcase(entry.name, pattern):
                        continue
                    found = _modified(entry)
                    if found is not None:
                        count, first = count + 1, found if first is None else min(first, found)
                    if count >= _MOST:
                        break
        except PermissionError as error:
            raise SourceError(Kind.AUTH, f"{place.shown}: procq may not read this directory") from error
        except NotADirectoryError as error:
            raise SourceError(Kind.GARBAGE, f"{place.shown}: this is no directory") from error
        except FileNotFoundError as error:
            raise SourceError(Kind.REFUSED, f"{place.shown}: there is no such directory") from error
        except OSError as error:
            raise SourceError(Kind.OTHER, f"{place.shown}: {error.strerror}") from error
        return Reading(count, oldest=age(time.time(), first))


def _modified(entry: os.DirEntry[str]) -> float | None:
    """When a file was last written; None where it is no file, or was taken away meanwhile."""
    try:
        return entry.stat().st_mtime if entry.is_file() else None
    except FileNotFoundError:
        return None
