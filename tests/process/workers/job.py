"""Always has a job in hand. On TERM (or INT) finishes it, which takes SECONDS, and notes that in LEDGER.

job.py LEDGER SECONDS [NAME]. Lines of the ledger: `ready NAME`, `asked NAME`, `done NAME`.
"""

import os
import signal
import sys
import time

ledger, seconds = sys.argv[1], float(sys.argv[2])
name = sys.argv[3] if len(sys.argv) > 3 else os.environ.get("PROCQ_WORKER_ID", "job")
file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def note(what: str) -> None:
    os.write(file, f"{what} {name}\n".encode())


def finish(*_: object) -> None:
    note("asked")
    time.sleep(seconds)
    note("done")
    os._exit(0)


signal.signal(signal.SIGTERM, finish)
signal.signal(signal.SIGINT, finish)
note("ready")
while True:
    signal.pause()
