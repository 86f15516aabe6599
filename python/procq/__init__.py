"""procq runs the workers of your queues as one file says, and keeps them so.

For use inside a program of yours: `procq.Manager`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from procq.manager import Manager

__all__ = ["Manager"]


def __getattr__(name: str) -> Any:
    # Commands import this package too, and have no time for what the manager needs.
    if name == "Manager":
        return import_module("procq.manager").Manager
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
