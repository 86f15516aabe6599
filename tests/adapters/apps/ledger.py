"""What jobs write down: each attempt when it begins and when it ends, in one file that all workers share."""

from __future__ import annotations

import os
import time
from importlib import import_module
from pathlib import Path
from typing import Any

TRACED = os.environ.get("TRACED", "")
"""Whether, and when, the SDK of OpenTelemetry is set up: at once, or `late`, in each process of a pool."""
spans: Any = import_module("spans") if TRACED else None

FILE = Path(__file__).parent / "ledger.txt"
TAKES = 0.01  # seconds
FAILS = 50
"""Every so many-th job fails for good."""
RETRIES = 70
"""Every so many-th job fails at its first attempt."""


class Failure(Exception):
    """The job cannot be done."""


class AgainError(Exception):
    """The job is to be tried again."""


def write(word: str, job: int) -> None:
    """One line at a time, whoever else writes."""
    file = os.open(FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(
            file, f"{word} {job} {os.environ.get('PROCQ_WORKER_ID')} {os.environ.get('GENERATION', '')}\n".encode()
        )
    finally:
        os.close(file)


def fails(job: int) -> bool:
    """Whether the job is one that fails for good."""
    return job % FAILS == 0


def retries(job: int) -> bool:
    """Whether the job is one that fails at first."""
    return job % RETRIES == 1


def before(job: int, attempt: int) -> None:
    """The attempt begins, of which the first has the number 1. Raises what ends it, for jobs that fail.

    What comes after it is `work`, and then `after`.
    """
    write("began", job)
    if TRACED:
        spans.inside(job)
    if fails(job):
        write("failed", job)
        raise Failure(job)
    if retries(job) and attempt == 1:
        write("again", job)
        raise AgainError(job)


def after(job: int) -> None:
    """The job is done."""
    write("done", job)


def run(job: int, attempt: int = 1) -> None:
    """A whole attempt."""
    before(job, attempt)
    time.sleep(TAKES)
    after(job)
