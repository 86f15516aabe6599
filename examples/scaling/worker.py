"""Takes jobs from spool/, one after the other: `NAME.job` holds how many seconds it takes. No server, no library."""

from __future__ import annotations

import os
import time
from pathlib import Path

from procq import worker

SPOOL = Path("spool")
LOOK = 0.1  # seconds between two looks at an empty spool


def take() -> Path | None:
    """A job that is ours: only one worker can rename it."""
    with os.scandir(SPOOL) as entries:
        jobs = sorted(entry.name for entry in entries if entry.name.endswith(".job"))
    for name in jobs:
        mine = SPOOL / f"{name.removesuffix('.job')}.taken"
        try:
            (SPOOL / name).rename(mine)
        except FileNotFoundError:
            continue
        return mine
    return None


def main() -> None:
    """Works until it is told to stop; `may_work` waits while the worker is to take no jobs."""
    worker.ready()
    while worker.may_work():
        job = take()
        if job is None:
            time.sleep(LOOK)
            continue
        with worker.job(job.stem, "resize"):
            time.sleep(float(job.read_text()))
            job.unlink()


if __name__ == "__main__":
    main()
