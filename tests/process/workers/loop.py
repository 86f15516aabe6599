"""Does one job after the other as a plain loop does, with `procq.worker`: takes the oldest file of the folder.

A job is a file N.job, taken by renaming it, and takes as many seconds as stand in it. What begins and ends is written
to `ledger`, a line each.
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "python"))
from procq import worker

folder = Path(sys.argv[1])
ledger = os.open(folder / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def take() -> Path | None:
    for path in sorted(folder.glob("*.job"), key=lambda path: int(path.stem)):
        mine = path.with_suffix(f".by.{os.getpid()}")
        try:
            path.rename(mine)
        except FileNotFoundError:
            continue
        return mine
    time.sleep(0.02)
    return None


def write(word: str, job: str) -> None:
    os.write(ledger, f"{word} {job} {os.environ['PROCQ_WORKER_ID']}\n".encode())


worker.ready()
while worker.may_work():
    if (path := take()) is not None:
        number = path.name.partition(".")[0]
        with worker.job(number, "file"):
            write("began", number)
            time.sleep(float(path.read_text()))
            write("done", number)
worker.stopping()
