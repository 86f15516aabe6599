"""Does a job every fifth of a second, tells it by procq.worker and by a byte in a file. steady.py FILE."""

import sys
import time

from procq import worker

worker.ready()
with open(sys.argv[1], "ab", buffering=0) as done:
    while worker.may_work():
        with worker.job("1", "task"):
            time.sleep(0.2)
            done.write(b".")
