"""Overwrites its own name and environment as Celery's workers do, then a child does. Pids go to FILE and FILE.child."""

import os
import signal
import sys

from setproctitle import setproctitle

file = sys.argv[1]
if not os.fork():
    os.setsid()
    file += ".child"
setproctitle("a name that is much longer than the command line was, " * 40)
with open(f"{file}.draft", "w") as draft:
    draft.write(str(os.getpid()))
os.rename(f"{file}.draft", file)
while True:
    signal.pause()
