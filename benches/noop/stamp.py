"""What a job of the benchmark does: it says when it began."""

from __future__ import annotations

import os
import time

SPEAK = os.environ.get("SPEAK") == "1"
"""Whether the worker is to have procq's adapter."""
TURN = int(os.environ.get("TURN", "0"))
"""Jobs that are done with it before as many are done without it; 0 where that is not for the worker to decide."""
_file = os.open(os.environ["STAMPS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def stamp() -> None:
    """Writes the time, in nanoseconds."""
    os.write(_file, b"%d\n" % time.perf_counter_ns())
