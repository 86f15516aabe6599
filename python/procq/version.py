"""The version of what is installed."""

from __future__ import annotations


def version() -> str:
    """As in `pip show procq`."""
    from importlib.metadata import version as installed

    return installed("procq")
