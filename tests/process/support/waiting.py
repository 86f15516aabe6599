"""Waiting for conditions. Nothing in these tests sleeps for a time in which something is hoped to happen."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = float(os.environ.get("PROCQ_TEST_PATIENCE", "20"))
"""Seconds before a wait fails; only ever spent by a test that fails. An emulated machine needs more."""

_STEP = 0.002


def until(condition: Callable[[], T], what: str | Callable[[], str], seconds: float = PATIENCE) -> T:
    """Returns the first true value of `condition`. Fails the test when there is none within `seconds`."""
    value, _ = _poll(condition, seconds)
    assert value, f"waited {seconds:g} s in vain for {what if isinstance(what, str) else what()}; last seen: {value!r}"
    return value


def within(seconds: float, condition: Callable[[], T], what: str) -> float:
    """Seconds until `condition` holds. Fails the test when that is longer than `seconds`: a promise, not patience."""
    value, took = _poll(condition, seconds)
    assert value, f"{what} was promised within {seconds:g} s; last seen: {value!r}"
    return took


def throughout(seconds: float, condition: Callable[[], bool], what: str) -> None:
    """Fails the test when `condition` stops holding within `seconds`: for "nothing happens", which has no event."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"{what} did not last {seconds:g} s"
        time.sleep(_STEP)


def _poll(condition: Callable[[], T], seconds: float) -> tuple[T, float]:
    began = time.monotonic()
    while True:
        value, now = condition(), time.monotonic()
        if value or now - began > seconds:
            return value, now - began
        time.sleep(_STEP)
