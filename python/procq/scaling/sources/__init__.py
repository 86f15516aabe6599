"""Reads how long queues are, wherever they are kept. The libraries of their servers are imported only when needed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from procq.scaling.sources.port import Connection, Kind, SourceError

if TYPE_CHECKING:
    from procq.scaling.place import Place

__all__ = ["TIMEOUT", "Connection", "Kind", "SourceError", "connect", "preload"]

TIMEOUT: Final = 3.0
"""Seconds that a server may take for one step of an answer."""

_MODULES: Final = {
    "redis": "redis",
    "rediss": "redis",
    "unix": "redis",
    "amqp": "amqp",
    "amqps": "amqp",
    "postgresql": "postgres",
    "sqlite": "sqlite",
    "http": "web",
    "https": "web",
    "exec": "command",
    "file": "directory",
}
"""Which module speaks with a server, by how the server's URL begins."""


def connect(place: Place, timeout: float = TIMEOUT) -> Connection:
    """A connection that can read this place and all others of the same server; nothing is opened yet.

    Raises SourceError, of the kind MISSING_LIBRARY where a library is not installed.
    """
    from procq.scaling.presets import PRESETS

    if place.preset not in PRESETS:
        return _plugged(place, timeout)
    name = _MODULES[place.server.partition(":")[0]]
    try:
        module = import_module(f"procq.scaling.sources.{name}")
    except ModuleNotFoundError as error:
        raise _missing(place, error) from error
    make: Callable[[Place, float], Connection] = module.connect
    return make(place, timeout)


def preload() -> None:
    """Imports whatever is installed, so that nothing has to be found on disk once procq is being upgraded."""
    for name in dict.fromkeys(_MODULES.values()):
        with suppress(ImportError):
            import_module(f"procq.scaling.sources.{name}")


def _missing(place: Place, error: ModuleNotFoundError) -> SourceError:
    from procq.scaling.presets import SERVERS

    library = (error.name or "").partition(".")[0]
    extra = SERVERS[place.server.partition(":")[0]].library
    todo = f"pip install 'procq[{extra}]'" if extra else f"pip install {library}"
    return SourceError(Kind.MISSING_LIBRARY, f"{place.shown} needs the library {library}, which is missing: {todo}")


def _plugged(place: Place, timeout: float) -> Connection:
    from procq.scaling.place import GROUP

    for each in entry_points(group=GROUP, name=place.preset):
        try:
            make: Callable[[Place, float], Connection] = each.load()
            return make(place, timeout)
        except SourceError:
            raise
        except Exception as error:  # somebody else's code
            message = f"the source {place.preset}, {each.value}, cannot be used: {type(error).__name__}: {error}"
            raise SourceError(Kind.OTHER, message) from error
    raise SourceError(Kind.MISSING_LIBRARY, f"nothing that is installed reads {place.preset}, for {place.shown}")
