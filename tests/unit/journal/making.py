"""Rows of journals."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from procq.journal.record import Record, Sample


def record(number: int, queue: str = "emails", at: float | None = None) -> Record:
    return Record(
        at=1000.0 + number if at is None else at,
        queue=queue,
        before=number,
        target=number + 1,
        wanted=number + 5,
        reason="the first job in line has waited for 12s",
        winner="wait",
        inputs={"waiting": 12.0, "oldest": None, "job time": 0.25},
        terms=(("wait", 5.0, "12 jobs within 30s"), ("floor", 2.0, "from 0 8 * * 1-5")),
        limits=("max 20", "memory budget"),
    )


def sample(number: int, queue: str = "emails", at: float | None = None) -> Sample:
    return Sample(1000.0 + number if at is None else at, queue, float(number), 3, 2, 0.5)


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def sizes(path: Path) -> tuple[int, int]:
    """Bytes of the file, and of the log beside it."""
    log = path.with_name(f"{path.name}-wal")
    return path.stat().st_size, log.stat().st_size if log.exists() else 0
