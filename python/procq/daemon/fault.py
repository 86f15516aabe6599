"""Names a fault of procq's own where it is told in one line."""

from __future__ import annotations

import os
import traceback


def fault(error: Exception) -> str:
    """What it is and where it happened. Not its text, which may hold what is secret."""
    inner: BaseException = error
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    frames = traceback.extract_tb(inner.__traceback__)
    where = f" in {os.path.basename(frames[-1].filename)}, line {frames[-1].lineno}" if frames else ""
    return type(inner).__name__ + where
