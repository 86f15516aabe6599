"""procq runs the workers of your queues as one file says, and keeps them so.

For use inside a program of yours: `procq.Manager`, or `procq.AsyncManager` in asyncio; `procq.testing` tests a
manifest without processes or time. docs/python.md tells all of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from procq.errors import ManifestError as ManifestError
    from procq.errors import ProcqError as ProcqError
    from procq.manager import AsyncManager as AsyncManager
    from procq.manager import AsyncWorkerProcess as AsyncWorkerProcess
    from procq.manager import Line as Line
    from procq.manager import Manager as Manager
    from procq.manager import ManagerClosed as ManagerClosed
    from procq.manager import NoSuchQueue as NoSuchQueue
    from procq.manager import NotStarted as NotStarted
    from procq.manager import StillRunning as StillRunning
    from procq.manager import WorkerFactory as WorkerFactory
    from procq.manager import WorkerOptions as WorkerOptions
    from procq.manager import WorkerProcess as WorkerProcess
    from procq.model import Backoff as Backoff
    from procq.model import GiveUp as GiveUp
    from procq.model import Limit as Limit
    from procq.model import LogFormat as LogFormat
    from procq.model import LogPolicy as LogPolicy
    from procq.model import RestartPolicy as RestartPolicy
    from procq.model import RestartWhen as RestartWhen
    from procq.model import Share as Share
    from procq.model import StopPolicy as StopPolicy
    from procq.model import StopTo as StopTo
    from procq.model import UpdatePolicy as UpdatePolicy
    from procq.model import WhenFull as WhenFull
    from procq.targets import NoSuchTarget as NoSuchTarget

_HOMES = {
    "procq.errors": ("ManifestError", "ProcqError"),
    "procq.manager": (
        "AsyncManager",
        "AsyncWorkerProcess",
        "Line",
        "Manager",
        "ManagerClosed",
        "NoSuchQueue",
        "NotStarted",
        "StillRunning",
        "WorkerFactory",
        "WorkerOptions",
        "WorkerProcess",
    ),
    "procq.model": (
        "Backoff",
        "GiveUp",
        "Limit",
        "LogFormat",
        "LogPolicy",
        "RestartPolicy",
        "RestartWhen",
        "Share",
        "StopPolicy",
        "StopTo",
        "UpdatePolicy",
        "WhenFull",
    ),
    "procq.targets": ("NoSuchTarget",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AsyncManager",
    "AsyncWorkerProcess",
    "Backoff",
    "GiveUp",
    "Limit",
    "Line",
    "LogFormat",
    "LogPolicy",
    "Manager",
    "ManagerClosed",
    "ManifestError",
    "NoSuchQueue",
    "NoSuchTarget",
    "NotStarted",
    "ProcqError",
    "RestartPolicy",
    "RestartWhen",
    "Share",
    "StillRunning",
    "StopPolicy",
    "StopTo",
    "UpdatePolicy",
    "WhenFull",
    "WorkerFactory",
    "WorkerOptions",
    "WorkerProcess",
]


def __getattr__(name: str) -> Any:
    # Commands import this package too, and have no time for what the manager needs.
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
