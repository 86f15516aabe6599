"""kill -9 in the middle of writing leaves a file that can be read, and gone on with."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from procq.journal.reader import last
from procq.journal.record import Bounds
from procq.journal.store import Store
from tests.unit.journal.making import count, record

WRITER = """
import sys
from pathlib import Path
from procq.journal.record import Bounds
from procq.journal.store import Store
from tests.unit.journal.making import record

store, number = Store(Path(sys.argv[1]), Bounds(decisions=3_000, size=1 << 20, log=1 << 18)), 0
while True:
    store.write([record(number)] * 100, 1000.0)
    number += 1
    print(number, flush=True)
"""


@pytest.mark.process
@pytest.mark.parametrize("batches", [1, 3, 17, 60, 200])
def test_killed_while_it_writes(tmp_path: Path, batches: int) -> None:
    path = tmp_path / "journal.db"
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(batches):
            said = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        said = max([said, *(int(line) for line in writer.stdout.read().split())])
    newest = last(path, "emails", 100)
    # The batch that was last told is there, and of the next one all or nothing.
    assert newest[0].before in (said - 1, said)
    assert len({each.before for each in newest}) == 1
    assert count(path, "decisions") % 100 == 0
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with closing(Store(path, Bounds())) as store:
        assert store.aside is None
        store.write([record(7)], 1000.0)
    assert last(path, "emails", 1) == [record(7)]
