"""A leader with a child that lives after it, both of which note in LEDGER what they hear.

family.py LEDGER: on TERM the leader notes `leader TERM`, waits for the file LEDGER.go, and leaves. The child notes
`child TERM` and leaves; while it runs it ignores nothing and asks nobody.
"""

import os
import signal
import sys
import time

ledger = sys.argv[1]
file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
name = "leader" if os.fork() else "child"


def heard(*_: object) -> None:
    os.write(file, f"{name} TERM\n".encode())
    while name == "leader" and not os.path.exists(f"{ledger}.go"):
        time.sleep(0.002)
    os._exit(0)


signal.signal(signal.SIGTERM, heard)
os.write(file, f"{name} ready\n".encode())
while True:
    signal.pause()
